"""Where on a slide a level departs from the one above: the cross-scale error as a small picture to lay over it."""

from __future__ import annotations

import numpy as np
from PIL import Image

LONG_SIDE = 600  # px at most
FULL = 16.0  # grey steps of 255 from which on the colour is full
COLOUR = (214, 40, 40)


class ErrorMap:
    """Means of an error over square blocks of a level, taken band by band: element (y, x) of `mean()` is one block."""

    def __init__(self, height: int, width: int, long_side: int = LONG_SIDE):
        self.block_px = max(1, -(-max(height, width) // long_side))
        shape = -(-height // self.block_px), -(-width // self.block_px)
        self._total, self._pixels = np.zeros(shape), np.zeros(shape)

    def add(self, first: int, error: np.ndarray) -> None:
        """error: (rows, width, channels) of the rows from `first` on."""
        rows, columns = (np.arange(n) // self.block_px for n in (first + len(error), error.shape[1]))
        starts = np.flatnonzero(np.diff(columns, prepend=-1))
        by_column = np.add.reduceat(error.mean(axis=2, dtype=np.float64), starts, axis=1)
        np.add.at(self._total, rows[first:], by_column)
        np.add.at(self._pixels, rows[first:], np.diff(np.append(starts, error.shape[1]))[None])

    def mean(self) -> np.ndarray:
        return self._total / np.maximum(self._pixels, 1)

    def picture(self) -> Image.Image:
        """Red, the more the larger the error; clear where there is none."""
        alpha = np.clip(self.mean() / FULL, 0, 1) * 255
        colour = np.broadcast_to(np.array(COLOUR, np.uint8), (*alpha.shape, 3))
        return Image.fromarray(np.dstack([colour, alpha.round().astype(np.uint8)]), "RGBA")
