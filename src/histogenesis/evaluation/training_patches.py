"""All training patches of a run, by number: what the search for copies goes through, in memory that does not grow."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.patches.dataset import PatchCollection


class Training(Protocol):
    """Training patches by number; mpp (n,)."""

    mpp: np.ndarray

    def read(self, rows) -> np.ndarray: ...


class InMemory:
    """The patches of an image set."""

    def __init__(self, images: ImageSet):
        self.mpp, self.images = images.mpp, images.images

    def read(self, rows):
        return self.images[rows]


class OnDisk:
    """All patches of the split `train`, of these classes and, where an mpp is not known, as `unknown_mpp`."""

    def __init__(self, patches: Path, splits: Path, classes: list[str] | None = None, unknown_mpp: float = 0.0):
        self.collection = PatchCollection(Path(patches), Path(splits), "train", classes)
        self.mpp = np.nan_to_num(np.asarray(self.collection.mpp, np.float64), nan=unknown_mpp)

    def read(self, rows):
        return self.collection.read(rows)
