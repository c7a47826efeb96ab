"""A whole slide as readers zoom into it: tiles of a deep-zoom pyramid, every coarser one averaged from finer ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from histogenesis.core.geometry import served_mpp
from histogenesis.study.equal import TINT, Scanner, as_file, equal_picture
from histogenesis.study.sources import Source

TILE_PX = 256
FRAME = 1 / 64  # of the longer side: glass at the border of every slide


@dataclass
class DeepSlide:
    """`size_px` (height, width) at `mpp` about the middle of a source's tissue, in a frame of glass. shift: px (y, x) that the
    window is moved by; scanner, phase: what it goes through, and where in the window that one's grid begins."""

    source: Source
    mpp: float
    size_px: tuple[int, int]
    shift: tuple[int, int]
    scanner: Scanner | None
    phase: tuple[int, int]

    @property
    def last(self) -> int:
        """The number of the full-resolution level, as OpenSeadragon counts."""
        return math.ceil(math.log2(max(self.size_px)))

    @cached_property
    def own_mpp(self) -> float:
        return served_mpp(self.mpp, self.source.finest_mpp)

    @cached_property
    def corner_um(self) -> tuple[float, float]:
        """y, x of the top left corner, on a whole pixel of the source; moved by `shift`, so that a real slide's own grid lies
        at random in the window."""
        half = [n * self.own_mpp / 2 for n in self.size_px]
        x, y = self.source.centre_um(2 * half[0], 2 * half[1])
        moved = zip((y, x), half, self.shift)
        top, left = ((round((middle - h) / self.own_mpp) - n) * self.own_mpp for middle, h, n in moved)
        return top, left

    @property
    def cut(self) -> bool:
        """Whether tissue reaches beyond the border: seen on one kind of slide alone, that would give it away."""
        boxes = [np.flatnonzero(self.source.mask.any(axis=1 - axis)) for axis in (0, 1)]
        wholes = self.source.height_um, self.source.width_um
        inside = (1 - 2 * FRAME) * self.own_mpp
        return any(
            len(box) and (box[-1] + 1 - box[0]) / n * whole > px * inside
            for box, n, whole, px in zip(boxes, self.source.mask.shape, wholes, self.size_px)
        )

    def pixels(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window at full resolution; uint8 (height, width, 3)."""
        y, x = (corner + n * self.own_mpp for corner, n in zip(self.corner_um, (top, left)))
        phase = (top - self.phase[0], left - self.phase[1])
        out = equal_picture(self.source, x, y, (height, width), self.own_mpp, self.scanner, phase).copy()
        frame = max(1, round(FRAME * max(self.size_px)))
        rows, columns = np.arange(top, top + height), np.arange(left, left + width)
        out[(rows < frame) | (rows >= self.size_px[0] - frame)] = TINT
        out[:, (columns < frame) | (columns >= self.size_px[1] - frame)] = TINT
        return out

    def tiles(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Every tile once: level, x, y, its JPEG file. In memory are no more than four tiles of each level."""
        yield from self._below(0, 0, 0, [])

    def _below(self, level: int, x: int, y: int, out: list[np.ndarray]) -> Iterator[tuple[int, int, int, bytes]]:
        """Tile and all finer ones under it; the tile's pixels are then the last in `out`."""
        scale = 2 ** (self.last - level)
        height, width = (min(TILE_PX, math.ceil(n / scale) - at * TILE_PX) for n, at in zip(self.size_px, (y, x)))
        if level == self.last:
            pixels = self.pixels(y * TILE_PX, x * TILE_PX, height, width)
        else:
            rows = []
            finer = [math.ceil(n / (scale // 2)) for n in self.size_px]
            for v in range(2 * y, 2 * y + 2):
                row = []
                for u in range(2 * x, 2 * x + 2):
                    if v * TILE_PX < finer[0] and u * TILE_PX < finer[1]:
                        yield from self._below(level + 1, u, v, out)
                        row.append(out.pop())
                if row:
                    rows.append(np.concatenate(row, axis=1))
            pixels = halved(np.concatenate(rows))
        out.append(pixels)
        yield level, x, y, as_file(pixels)


def halved(image: np.ndarray) -> np.ndarray:
    """Means over blocks of 2 x 2; an odd last row or column counts twice. uint8 (ceil(h / 2), ceil(w / 2), 3)"""
    wide = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge").astype(np.uint16)
    return ((wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) // 4).astype(np.uint8)
