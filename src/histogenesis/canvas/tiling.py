"""Tiles: windows of a canvas that the network sees at once; and which pixels of a canvas are drawn."""

from typing import NamedTuple

import numpy as np

TileIndex = tuple[int, int]  # row and column of a tile in its grid, or any other name of it


class Tile(NamedTuple):
    """The window (y, x, size) that the network sees, and the part of it (the core) that it decides; px of the canvas."""

    y: int
    x: int
    size: int
    core: tuple[slice, slice]

    @property
    def window(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.size), slice(self.x, self.x + self.size)

    @property
    def core_in_window(self) -> tuple[slice, slice]:
        rows, columns = self.core
        return slice(rows.start - self.y, rows.stop - self.y), slice(columns.start - self.x, columns.stop - self.x)


def shifted_grid(height: int, width: int, tile_px: int, shift_y: int, shift_x: int) -> list[Tile]:
    """Tiles of a grid moved by (shift_y, shift_x): their cores cover every pixel of the canvas exactly once.

    A grid cell that sticks out of the canvas keeps the part inside as its core, and its window is pushed inside, so that
    the network never sees anything but canvas. A side of one tile has nothing to move: no two tiles have one window.
    """
    assert height >= tile_px and width >= tile_px, "the recipe's model checks this"
    shift_y, shift_x = shift_y * (height > tile_px), shift_x * (width > tile_px)
    tiles = []
    for top in range(shift_y % tile_px - tile_px, height, tile_px):
        y0, y1 = max(top, 0), min(top + tile_px, height)
        if y1 <= y0:
            continue
        for left in range(shift_x % tile_px - tile_px, width, tile_px):
            x0, x1 = max(left, 0), min(left + tile_px, width)
            if x1 > x0:
                y, x = min(y0, height - tile_px) if top >= 0 else 0, min(x0, width - tile_px) if left >= 0 else 0
                tiles.append(Tile(y, x, tile_px, (slice(y0, y1), slice(x0, x1))))
    return tiles


class ForegroundMask:
    """Which pixels of a level are drawn: the tissue plan of level 0, looked up at this level's scale.

    factor: px of the level to each place of a window; it is drawn where any of them is.
    """

    def __init__(self, plan: np.ndarray | None, height: int, width: int, factor: int = 1):
        self.plan, self.height, self.width, self.factor = plan, height, width, factor
        if plan is not None:
            self.rows = np.arange(height) * plan.shape[0] // height
            self.columns = np.arange(width) * plan.shape[1] // width

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """bool, of the window's size."""
        rows, columns = window
        if self.plan is None:
            return np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
        f, height, width = self.factor, rows.stop - rows.start, columns.stop - columns.start
        rows, columns = (
            axis[f * part.start : f * part.stop] for axis, part in ((self.rows, rows), (self.columns, columns))
        )
        return np.asarray(self.plan[np.ix_(rows, columns)].reshape(height, f, width, f).any(axis=(1, 3)))

    def any(self, window: tuple[slice, slice]) -> bool:
        """Whether something of a window is drawn, without looking at each of its pixels."""
        if self.plan is None:
            return True
        f = self.factor
        rows, columns = (
            axis[[f * part.start, f * part.stop - 1]] for axis, part in zip((self.rows, self.columns), window)
        )
        return bool(self.plan[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1].any())

    def all(self, window: tuple[slice, slice]) -> bool:
        """Whether all of a window is drawn, without looking at each of its pixels."""
        if self.plan is None:
            return True
        f = self.factor
        rows, columns = (
            axis[[f * part.start, f * part.stop - 1]] for axis, part in zip((self.rows, self.columns), window)
        )
        return bool(self.plan[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1].all())

    @property
    def share(self) -> float:
        return 1.0 if self.plan is None else float(self.plan.mean())
