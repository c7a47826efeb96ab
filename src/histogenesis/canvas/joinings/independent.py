"""Tiles that do not see each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from histogenesis.canvas.joinings.base import Joining, Layout
from histogenesis.canvas.tiling import Tile, shifted_grid


@dataclass(frozen=True)
class Independent(Joining):
    """Tiles that do not see each other: the baseline that shows what a joining is for."""

    kind: Literal["independent"] = "independent"
    one_by_one: ClassVar[bool] = True

    def tiles(self, layout: Layout, number: int) -> list[Tile]:
        return shifted_grid(layout.height, layout.width, layout.tile, 0, 0)
