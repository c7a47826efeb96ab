"""Train the small encoder `learned` on a run's real training patches, so that metrics need no download.
Writes one safetensors file, with the losses of its training in the header."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.collect import real_set
from histogenesis.metrics.encoders.learned import save_encoder, train_encoder
from histogenesis.recipe import Evaluation
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=Path, required=True, help="folder of the patch set: {slide}.h5")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `evaluation`, as JSON")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads: another number rounds differently")
    parser.add_argument("--out", type=Path, required=True, help="encoder.safetensors")
    arguments = parser.parse_args()
    options = Evaluation.model_validate_json(arguments.options)
    torch.set_num_threads(arguments.threads)
    try:
        train = real_set(arguments.patches, arguments.splits, "train", options.train_images, arguments.seed)
        mpp = np.nan_to_num(train.mpp, nan=1.0)  # not known: one for all
        network, log = train_encoder(train.images, mpp, options.encoder_steps, seed=arguments.seed)
    except BadInput as error:
        sys.exit(f"error: {error}")
    save_encoder(arguments.out, network, log, arguments.seed)


if __name__ == "__main__":
    main()
