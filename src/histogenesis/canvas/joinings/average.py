"""Estimates of overlapping tiles, averaged: MultiDiffusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from histogenesis.canvas.joinings.base import Joining, Layout
from histogenesis.canvas.tiling import Tile
from histogenesis.canvas.wavefronts import check_stride, overlapping, starts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Average(Joining):
    """Tiles overlap, and where they do their estimates are averaged at every step (MultiDiffusion, Bar-Tal et al. 2023)."""

    kind: Literal["average"] = "average"
    stride_px: int = field(
        kw_only=True, metadata={"gt": 0, "description": "from one tile to the next: at least half a tile"}
    )
    colours: ClassVar[int] = 4

    def tiles(self, layout: Layout, number: int) -> list[Tile]:
        return list(overlapping(layout.height, layout.width, layout.tile, layout.stride).values())

    def colour(self, layout: Layout, tile: Tile) -> int:
        return 2 * (tile.y // layout.stride % 2) + tile.x // layout.stride % 2

    def merge(self, layout: Layout, window: tuple[slice, slice], plane: Callable[[int], Tensor]) -> Tensor:
        """Their mean (eq. 5). The sum has a fixed order, so that the tiles' order does not change its rounding."""

        def weighted(colour: int) -> tuple[Tensor, Tensor]:
            estimate, sides = plane(colour), zip(window, (layout.height, layout.width), divmod(colour, 2))
            weight = estimate.new_tensor(np.outer(*(covered(part, n, layout, parity) for part, n, parity in sides)))
            return weight * estimate, weight

        total, count = weighted(0)
        for colour in range(1, self.colours):
            estimate, weight = weighted(colour)
            total, count = total + estimate, count + weight
        return total / count

    def check(self, where: str, size_px: tuple[int, int], tile_px: int, blocks_px: list[int]) -> None:
        check_stride(where, size_px, tile_px, self.stride_px, blocks_px)


def covered(part: slice, length: int, layout: Layout, parity: int) -> np.ndarray:
    """Where tiles of one parity (even: 0, odd: 1) lie along one side: float32 of the part's length."""
    coverage = np.zeros(length, np.float32)
    for n, start in enumerate(starts(length, layout.tile, layout.stride)):
        if n % 2 == parity:
            coverage[start : start + layout.tile] = 1
    return coverage[part]
