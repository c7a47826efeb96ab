"""Compare patches that a model drew with held-out real ones."""

from __future__ import annotations

from pathlib import Path

from histogenesis.core.device import compute_with
from histogenesis.evaluation import evaluate_samples as comparison
from histogenesis.evaluation.job import load_encoders
from histogenesis.evaluation.labelled_sets import collect
from histogenesis.evaluation.training_patches import OnDisk
from histogenesis.evaluation.treatment import treated
from histogenesis.recipe import Evaluation


def evaluate_samples(
    *,
    samples: Path,
    patches: Path,
    splits: Path,
    out: Path,
    options: Evaluation = Evaluation(),
    seed: int = 1,
    threads: int = 1,
) -> None:
    """Compare patches that a model drew with held-out real ones, all together and class by class.

    Distances, manifold, SSIM, likelihood, copies and, where the mpp is known, nuclei, tissue, stains and a classifier of real
    against generated, each beside its floor. Writes metrics.json and .csv, memorisation.json, closest_pairs.png and shown.png.

    samples: samples.h5
    patches: folder of the patch set that they are compared with
    splits: splits.tsv of that patch set
    out: folder of the results
    options: the recipe's section `evaluation`
    seed: of the choice of patches
    threads: CPU threads: another number rounds differently
    """
    compute_with(threads)
    encoders = load_encoders(options)
    most = options.images, options.train_images
    sets = treated(collect(patches, splits, samples, *most, seed, options.one_per_group), options)
    training = OnDisk(patches, splits, sorted(set(sets.train.label) - {""}) or None)
    found = comparison.evaluate_samples(sets, encoders, options, out, seed, training)
    print(found["memorisation"]["sentence"])
