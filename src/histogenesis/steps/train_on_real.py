"""Train the classifiers that learn from real patches alone."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from histogenesis.core.device import compute_with
from histogenesis.evaluation import shared_arm
from histogenesis.evaluation.labelled_sets import MOST, UNKNOWN_MPP, labelled, real_set
from histogenesis.patches.dataset import PatchCollection


def train_on_real(
    *,
    real: Path,
    splits: Path,
    out: Path,
    network: Literal["resnet50", "small"] = "resnet50",
    seeds: int = 5,
    steps: int = 1000,
    batch: int = 64,
    lr: float = 1e-3,
    seed: int = 1,
    threads: int = 1,
) -> None:
    """Train the classifiers that learn from real patches alone, once for all samples that are compared with one patch set.

    They learn from the training patches of the set at its finest mpp, of all classes. `measure_utility` takes them as on_real.

    real: folder of the patch set
    splits: splits.tsv
    out: the weights, .safetensors
    network: of the classifier
    seeds: trainings
    steps: of each training
    batch: patches a step
    lr: learning rate
    seed: the first seed
    threads: CPU threads: another number rounds differently
    """
    compute_with(threads)
    there = PatchCollection(real, splits, "train")
    finest = np.nanmin(there.mpp) if np.isfinite(there.mpp).any() else UNKNOWN_MPP
    classes = sorted(set(there.label.tolist()) - {""})
    patches = labelled(real_set(real, splits, "train", float(finest), classes, MOST, seed))
    options = {"network": network, "seeds": seeds, "steps": steps, "batch": batch, "lr": lr, "first_seed": seed}
    shared_arm.train_on_real(patches, options, out)
