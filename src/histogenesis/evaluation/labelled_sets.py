"""The image sets of an evaluation of samples: real patches of a patch set, and patches that a model drew, with classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import reading
from histogenesis.evaluation.collect import checked_splits, held_out_split
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.tstr import Labelled
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.store import read_texts

UNKNOWN_MPP = 0.0  # in these sets alone: all three are of one mpp, known or not, and are compared with each other
MOST = 10**9  # patches of a class: all


def sample_set(path: str | Path) -> ImageSet:
    """All patches of a file that draw_samples.py wrote. Each is a unit of its own: `patient` numbers them."""
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such samples; draw them first")
    with reading(path) as file:
        images, mpp, label = file["imgs"][:], file["mpp"][:], read_texts(file, "label")
        name = str(file.attrs["slide"])
    n = len(images)
    return ImageSet("generated", images, _known(mpp), np.full(n, name), np.arange(n).astype(str), label=label)


def real_set(
    patches: str | Path,
    splits_tsv: str | Path,
    split: str,
    mpp: float,
    classes: list[str],
    each: int,
    seed: int,
    one_per_group: bool = False,
) -> ImageSet:
    """At most `each` patches of every class (all classes if none is named) at `mpp`, chosen by the seed.

    one_per_group: of patches that a split keeps together, one, chosen by the seed.
    """
    collection = PatchCollection(Path(patches), Path(splits_tsv), split, classes or None)
    there, rng = _known(collection.mpp), np.random.default_rng([seed, sum(split.encode())])
    label = collection.label if classes else np.full(len(collection), "")
    of_class = []
    for one in classes or [""]:
        found = np.flatnonzero((label == one) & np.isclose(there, mpp))
        if one_per_group:
            found = rng.permutation(found)
            found = found[np.unique(collection.patient[found].astype(str), return_index=True)[1]]
        of_class.append(np.sort(rng.choice(found, min(each, len(found)), replace=False)))
    rows = np.concatenate(of_class)
    name = "train" if split == "train" else "held_out"
    slide, patient = collection.slide[rows].astype(str), collection.patient[rows].astype(str)
    return ImageSet(name, collection.read(rows), there[rows], slide, patient, len(collection), label[rows])


def collect(
    patches: Path, splits: Path, samples: Path, images: int, train_images: int, seed: int, one_per_group: bool = False
) -> Sets:
    """Training and held-out patches of the samples' mpp and classes, and the samples. one_per_group: as for `real_set`."""
    rows = checked_splits(splits)
    generated = sample_set(samples)
    classes = sorted(set(generated.label) - {""})
    mpp = float(generated.mpp[0])
    train = real_set(patches, splits, "train", mpp, classes, train_images, seed, one_per_group)
    held_out = real_set(patches, splits, held_out_split(rows), mpp, classes, images, seed, one_per_group)
    if not len(train) or not len(held_out):
        raise BadInput(
            f"{patches}: no real patches at {mpp:g} mpp to compare {samples} with; give `compare` another set"
        )
    return Sets(train, held_out, generated)


def labelled(images: ImageSet) -> Labelled:
    """For the utility experiment."""
    return Labelled(images.images, images.label, images.patient)


def _known(mpp: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.asarray(mpp, np.float64), nan=UNKNOWN_MPP)
