"""A canvas strip by strip, and the tissue plan on any level's grid: what bounded-memory measurements share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import Checked

STRIP_ROWS = 256  # a canvas' HDF5 chunks are at most so tall, so that no chunk is read twice


def open_levels(levels_dir: str | Path) -> list[h5py.File]:
    """The canvases level0.h5, level1.h5, ... of one synthetic slide, opened for reading, coarsest first.

    Raises BadInput when there is none, when a level between two others is missing, or when one is no canvas.
    """
    paths = sorted(Path(levels_dir).glob("level*.h5"), key=lambda path: (len(path.name), path.name))
    if [path.name for path in paths] != [f"level{k}.h5" for k in range(len(paths))] or not paths:
        found = ", ".join(path.name for path in paths) or "none"
        raise BadInput(
            f"{levels_dir}: wants level0.h5, level1.h5, ... without a gap, found {found}; draw the slide first"
        )
    files = []
    for path in paths:
        file = Checked(path, rdcc_nbytes=64 << 20)  # one row of chunks of a wide canvas
        files.append(file)
        image = file.get("image")
        if (
            image is None
            or image.ndim != 3
            or image.shape[2] != 3
            or image.dtype != np.uint8
            or "mpp" not in file.attrs
        ):
            raise BadInput(f"{path}: no canvas (`image` of (H, W, 3) uint8, and `mpp`); draw the slide again")
    return files


def read_plan(path: str | Path) -> np.ndarray:
    """The tissue plan: bool (h, w), one pixel for each pixel of level 0. Raises BadInput where there is none."""
    if not Path(path).exists():
        raise BadInput(f"{path}: no tissue plan; plan the tissue of level 0 first")
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L")) > 127


def on_grid(plan: np.ndarray, first: int, last: int, height: int, width: int) -> np.ndarray:
    """The plan for rows first..last-1 of a level of height x width px: bool (last - first, width), by nearest pixel."""
    rows = ((np.arange(first, last) + 0.5) * (plan.shape[0] / height)).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * (plan.shape[1] / width)).astype(np.int64)
    return plan[rows][:, columns]


def strips(height: int, rows: int = STRIP_ROWS) -> Iterator[tuple[int, int]]:
    """(first, last) of bands of rows that cover a picture."""
    for first in range(0, height, rows):
        yield first, min(first + rows, height)
