"""Tiles that hold what their finished neighbours have drawn: URCDM, RePaint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from histogenesis.canvas.joinings.base import Joining, Layout
from histogenesis.canvas.tiling import Tile, TileIndex
from histogenesis.canvas.wavefronts import check_stride, wavefronts


@dataclass(frozen=True)
class Inpaint(Joining):
    """Each tile is drawn to its end; what it shares with finished ones is held meanwhile (URCDM; RePaint)."""

    kind: Literal["inpaint"] = "inpaint"
    stride_px: int = field(
        kw_only=True, metadata={"gt": 0, "description": "from one tile to the next: at least half a tile"}
    )
    resample: int = field(
        default=10,  # docs/measurements/seams.md: with less, tile lines are seen
        metadata={
            "gt": 0,
            "description": "r of RePaint (Lugmayr et al. 2022): every step is taken so often, with noise added in between; the"
            " default leaves hardly a seam, 1 is ten times as cheap and leaves one that anybody sees",
        },
    )
    order: Literal["raster", "checkerboard"] = field(
        default="raster",
        metadata={
            "description": "diagonal by diagonal from the top left, as the paper; or four colours, each all at once"
        },
    )
    jobs: int = field(
        default=1,
        metadata={
            "gt": 0,
            "description": "so many jobs draw the tiles, from one queue of those that are ready; the pixels are the same",
            "json_schema_extra": {"bears_on_bytes": False},
        },
    )
    at_every_step: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = True
    inpaints: ClassVar[bool] = True

    def wavefronts(self, layout: Layout) -> list[dict[TileIndex, Tile]]:
        return wavefronts(layout.height, layout.width, layout.tile, layout.stride, self.order)

    def check(self, where: str, size_px: tuple[int, int], tile_px: int, blocks_px: list[int]) -> None:
        check_stride(where, size_px, tile_px, self.stride_px, blocks_px)
