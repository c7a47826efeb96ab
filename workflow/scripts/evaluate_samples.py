"""Compare patches that a model drew with held-out real ones, all together and class by class: distances, manifold, SSIM,
likelihood, copies, each beside its floor. Writes metrics.json and .csv, memorisation.json, closest_pairs.png and shown.png."""

import argparse
import sys
from pathlib import Path

import torch

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.evaluate_samples import evaluate_samples
from histogenesis.evaluation.job import load_encoders
from histogenesis.evaluation.labelled_sets import collect
from histogenesis.evaluation.training_patches import OnDisk
from histogenesis.evaluation.treatment import treated
from histogenesis.recipe import Evaluation
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=Path, required=True, help="samples.h5")
    parser.add_argument(
        "--patches", type=Path, required=True, help="folder of the patch set that they are compared with"
    )
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv of that patch set")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `evaluation`, as JSON")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads: another number rounds differently")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    options = Evaluation.model_validate_json(args.options)
    try:
        encoders = load_encoders(options)
        most = options.images, options.train_images
        sets = collect(args.patches, args.splits, args.samples, *most, args.seed, options.one_per_group)
        sets = treated(sets, options)
        training = OnDisk(args.patches, args.splits, sorted(set(sets.train.label) - {""}) or None)
        found = evaluate_samples(sets, encoders, options, args.out, args.seed, training)
    except BadInput as error:
        sys.exit(f"error: {error}")
    print(found["memorisation"]["sentence"])


if __name__ == "__main__":
    main()
