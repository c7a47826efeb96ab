"""Measure the use of generated patches: a classifier trained on real, generated, and both, tested on held-out real ones.
Writes utility.json (accuracies with intervals, confusion matrices) and utility.png into one folder."""

import argparse
import sys
from pathlib import Path

import torch

from histogenesis.errors import BadInput
from histogenesis.metrics.labelled import read_labelled
from histogenesis.metrics.utility import NETWORKS, utility
from histogenesis.metrics.utility_files import write_utility

SET = "folder with a subfolder of images for each class, or a table (.csv, .tsv) with columns file, class and, for real"
SET += " patches, group: the patient, or whatever must not be split"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help=f"real patches to train on: {SET}")
    parser.add_argument("--generated", type=Path, required=True, help="generated patches, likewise")
    parser.add_argument("--test", type=Path, required=True, help="real patches of other patients, likewise")
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet50")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each arm")
    parser.add_argument("--steps", type=int, default=1000, help="of each training, the same in every arm")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads: another number rounds differently")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        sets = [read_labelled(path) for path in (arguments.real, arguments.generated, arguments.test)]
        found = utility(
            *sets,
            network=arguments.network,
            seeds=arguments.seeds,
            steps=arguments.steps,
            batch=arguments.batch,
            lr=arguments.lr,
            first_seed=arguments.seed,
            progress=True,
        )
    except BadInput as error:
        sys.exit(f"error: {error}")
    write_utility(arguments.out, found)
    for arm, part in found["arms"].items():
        print(f"{arm}: accuracy {part['value']:.3f} ({part['low']:.3f} to {part['high']:.3f})")


if __name__ == "__main__":
    main()
