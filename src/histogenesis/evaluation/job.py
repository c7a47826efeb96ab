"""What the two scripts of the evaluation share: the image sets and the encoders that a recipe's options ask for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.collect import by_region, checked_splits, generated_set, held_out_split, real_set
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.treatment import treated
from histogenesis.metrics.encoders.registry import Encoder, load
from histogenesis.recipe import EncoderFile, Evaluation

REGION_NOTE = (
    "held-out region of the same slides (no split by patient): the floor and the audit are kinder than they should be"
)


def collect(
    patches: Path,
    splits: Path,
    synthetic: Path,
    options: Evaluation,
    min_tissue: float,
    seed: int,
    records=None,
    run_dir=None,
) -> Sets:
    """Training and held-out patches, and as many crops of the synthetic slides at each of their mpps, treated alike."""
    rows = checked_splits(splits)
    train = real_set(patches, splits, "train", options.train_images, seed)
    try:
        held_out = real_set(patches, splits, held_out_split(rows), options.images, seed)
    except BadInput:  # nothing was held out: reported as such, and every other number still stands
        held_out = train.take(np.zeros(0, int))
        held_out = type(held_out)("held_out", held_out.images, held_out.mpp, held_out.slide, held_out.patient)
    mpps = sorted(set(train.mpp.tolist()), reverse=True)
    generated = generated_set(synthetic, mpps, train.images.shape[1], options.images, min_tissue, seed)
    sets = Sets(train, held_out, generated, REGION_NOTE if by_region(rows) else "")
    return treated(sets, options, records, run_dir)


def load_encoders(options: Evaluation) -> list[Encoder]:
    """The encoders of the recipe, in its order."""
    return [_load(choice) for choice in options.encoders]


def encoder_names(options: Evaluation) -> list[str]:
    return [choice.name if isinstance(choice, EncoderFile) else choice for choice in options.encoders]


def _load(choice) -> Encoder:
    if isinstance(choice, EncoderFile):
        return load(choice.name, choice.file, choice.sha256)
    return load(choice)
