"""The three image sets of an evaluation, and which of their patches are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.slides.codec import Codec

FEWEST = 20  # patches of each kind, below which no number is given
SHARE = 4  # patches of each kind that an mpp must have to count in the numbers of all mpps together


@dataclass(frozen=True)
class Sets:
    """train and held_out real patches, generated ones; `note` on how the real ones were split, for every table; the codec
    that all went through, and that in words (evaluation/treatment.py)."""

    train: ImageSet
    held_out: ImageSet
    generated: ImageSet
    note: str = ""
    codec: Codec | None = None
    treatment: str = ""

    def __iter__(self):
        return iter((self.train, self.held_out, self.generated))


def matched(sets: Sets, images: int) -> tuple[dict[float, list[np.ndarray]], dict[float, str]]:
    """Rows of the three sets at each mpp, equally many of each and spread evenly; and why mpps have too few for numbers of
    their own. Those with a few patches still count in the numbers of all mpps together; without enough of these, no rows."""
    rows, left_out = {}, {}
    for mpp in sorted({float(v) for s in sets for v in s.mpp}, reverse=True):
        found = [np.flatnonzero(s.mpp == mpp) for s in sets]
        n = min(images, *(len(f) for f in found))
        if n < FEWEST:
            counts = ", ".join(f"{len(f)} {s.name.replace('_', '-')}" for f, s in zip(found, sets))
            left_out[mpp] = f"too few patches at {mpp:g} mpp ({counts}; at least {FEWEST} of each are needed)"
        if n >= SHARE:
            rows[mpp] = [f[np.linspace(0, len(f) - 1, n).round().astype(int)] for f in found]
    if sum(len(parts[0]) for parts in rows.values()) < FEWEST:
        rows = {}
    return rows, left_out
