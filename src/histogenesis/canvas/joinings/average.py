"""Estimates of overlapping tiles, averaged: MultiDiffusion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal

from histogenesis.canvas.joinings.base import Joining, Layout
from histogenesis.canvas.tiling import Tile
from histogenesis.canvas.wavefronts import check_stride, overlapping, starts

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device


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
            rows, columns = (
                coverage(n, layout.tile, layout.stride, parity, estimate.device)[part] for part, n, parity in sides
            )
            weight = rows[:, None] * columns
            return weight * estimate, weight

        total, count = weighted(0)
        for colour in range(1, self.colours):
            estimate, weight = weighted(colour)
            total, count = total + estimate, count + weight
        return total / count

    def check(self, where: str, size_px: tuple[int, int], tile_px: int, blocks_px: list[int]) -> None:
        check_stride(where, size_px, tile_px, self.stride_px, blocks_px)


@lru_cache(8)
def coverage(length: int, tile: int, stride: int, parity: int, device: Device) -> Tensor:
    """Where tiles of one parity (even: 0, odd: 1) lie along one side: float32 (length,), made on the device once."""
    import torch  # which a recipe is read without

    covered = torch.zeros(length, device=device)
    for start in list(starts(length, tile, stride))[parity::2]:
        covered[start : start + tile].fill_(1)
    return covered
