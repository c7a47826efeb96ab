"""Measure the use of generated patches: a classifier trained on real, generated, and both, tested on held-out real ones.
Writes utility.json (accuracies with intervals, confusion matrices) and utility.png into one folder."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.collect import held_out_split
from histogenesis.evaluation.labelled import read_labelled
from histogenesis.evaluation.labelled_sets import UNKNOWN_MPP, labelled, real_set, sample_set
from histogenesis.evaluation.shared_arm import train_on_real, trained_on_real
from histogenesis.evaluation.utility import NETWORKS, Labelled, utility
from histogenesis.evaluation.utility_files import write_utility
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.splits import read_splits

SET = "folder with a subfolder of images for each class, or a table (.csv, .tsv) with columns file, class and, for real"
SET += " patches, group: the patient, or whatever must not be split"

MOST = 10**9  # patches of a class: all


def read_sets(args: argparse.Namespace) -> list[Labelled]:
    """Real patches to train on, generated ones, real ones held out: from a patch set and samples of it, or from images."""
    if args.splits is None:
        return [read_labelled(path) for path in (args.real, args.generated, args.test)]
    made = sample_set(args.generated)
    about = float(made.mpp[0]), sorted(set(made.label.tolist())), MOST, args.seed
    splits = ("train", held_out_split(read_splits(args.splits)))
    train, held_out = (labelled(real_set(args.real, args.splits, split, *about)) for split in splits)
    return [train, labelled(made), held_out]


def real_alone(args: argparse.Namespace) -> Labelled:
    """The training patches of a set at its finest mpp, of all classes."""
    there = PatchCollection(args.real, args.splits, "train")
    finest = np.nanmin(there.mpp) if np.isfinite(there.mpp).any() else UNKNOWN_MPP
    classes = sorted(set(there.label.tolist()) - {""})
    return labelled(real_set(args.real, args.splits, "train", float(finest), classes, MOST, args.seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help=f"real patches to train on: {SET}")
    parser.add_argument(
        "--generated", type=Path, help="generated patches, likewise; without: the classifiers of --on-real"
    )
    parser.add_argument("--test", type=Path, help="real patches of other patients, likewise; not with --splits")
    parser.add_argument(
        "--splits", type=Path, help="splits.tsv: then --real is the folder of a patch set, and --generated a samples.h5"
    )
    parser.add_argument("--network", choices=sorted(NETWORKS), default="resnet50")
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each arm")
    parser.add_argument("--steps", type=int, default=1000, help="of each training, the same in every arm")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads: another number rounds differently")
    parser.add_argument(
        "--on-real",
        type=Path,
        help="classifiers trained on the real patches alone, which all samples of a patch set share",
    )
    parser.add_argument("--out", type=Path, help="folder of the results")
    arguments = parser.parse_args()
    if (arguments.test is None) == (arguments.splits is None):
        parser.error("give either --test or --splits")
    torch.set_num_threads(arguments.threads)
    options = {key: getattr(arguments, key) for key in ("network", "seeds", "steps", "batch", "lr")}
    options["first_seed"] = arguments.seed
    try:
        if arguments.generated is None:
            train_on_real(real_alone(arguments), options, arguments.on_real)
            return
        real, generated, test = read_sets(arguments)
        shared = trained_on_real(arguments.on_real, real, options) if arguments.on_real else None
        if arguments.on_real and shared is None:
            print(
                "the shared classifiers learnt from other patches than these are compared with: trained anew",
                flush=True,
            )
        found = utility(real, generated, test, **options, progress=True, on_real=shared)
    except BadInput as error:
        sys.exit(f"error: {error}")
    write_utility(arguments.out, found)
    for arm, part in found["arms"].items():
        print(f"{arm}: accuracy {part['value']:.3f} ({part['low']:.3f} to {part['high']:.3f})")
    part = found["recognised"]
    print(f"class of generated patches recognised: {part['value']:.3f} ({part['low']:.3f} to {part['high']:.3f})")


if __name__ == "__main__":
    main()
