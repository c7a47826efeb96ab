"""A grid that moves: Harb et al. 2024."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.canvas.joinings.base import Joining, Layout
from histogenesis.canvas.tiling import Tile, shifted_grid
from histogenesis.core.noise import generator


@dataclass(frozen=True)
class GridShift(Joining):
    """The tile grid moves at every sampler step, so that no border stays in one place (Harb et al.)."""

    kind: Literal["grid-shift"] = "grid-shift"

    def tiles(self, layout: Layout, number: int) -> list[Tile]:
        """The grid's offset is drawn from (seed, slide, level, number), in multiples of what no tile may split."""
        random = generator("grid-shift", *layout.key, number)
        y, x = random.integers(0, layout.tile // layout.align, size=2) * layout.align
        return shifted_grid(layout.height, layout.width, layout.tile, int(y), int(x))
