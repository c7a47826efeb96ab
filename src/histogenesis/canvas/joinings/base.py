"""What every joining can be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from histogenesis.canvas.tiling import Tile, TileIndex

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """A canvas as its tiles see it. Px are those of the state.

    stride: from one tile to the next; shifts are multiples of `align`; key: (seed, slide, level).
    """

    height: int
    width: int
    tile: int
    stride: int
    align: int = 1
    key: tuple[int | str, ...] = ()


class Joining:
    """How the tiles of one level agree. Subclasses are frozen dataclasses: their fields are a recipe's keys.

    `at_every_step`: all tiles take a step before any takes the next, and the state of the canvas lies between them; otherwise
    each tile is drawn to its end, wavefront by wavefront.
    """

    kind: str
    at_every_step: ClassVar[bool] = True
    one_by_one: ClassVar[bool] = False  # whether tiles may be drawn to their end one by one
    inpaints: ClassVar[bool] = False  # whether a tile holds what its finished neighbours have drawn
    colours: ClassVar[int] = 0  # planes of estimates that lie beside the state, for joinings that merge them
    if TYPE_CHECKING:  # keys of some subclasses
        resample: int
        jobs: int
        stride_px: int | None
    else:  # or they would be keys of all, in a recipe
        resample: ClassVar[int] = 1
        jobs: ClassVar[int] = 1
        stride_px: ClassVar[int | None] = None

    def tiles(self, layout: Layout, number: int) -> list[Tile]:
        """Those of the `number`-th evaluation: their cores cover every pixel once, or more often where estimates are merged."""
        raise NotImplementedError

    def wavefronts(self, layout: Layout) -> list[dict[TileIndex, Tile]]:
        """Those that are drawn to their end, wavefront by wavefront: within one they do not wait for each other."""
        return [{(tile.y, tile.x): tile for tile in self.tiles(layout, 0)}]

    def colour(self, layout: Layout, tile: Tile) -> int:
        """The plane for a tile's estimate: tiles of one colour do not overlap."""
        raise NotImplementedError

    def merge(self, layout: Layout, window: tuple[slice, slice], plane: Callable[[int], Tensor]) -> Tensor:
        """The estimates of all tiles that cover a window, as one; plane(colour): (C, h, w) of that window."""
        raise NotImplementedError

    def check(self, where: str, size_px: tuple[int, int], tile_px: int, blocks_px: list[int]) -> None:
        """Raises ValueError where a canvas cannot have these tiles. blocks_px: sizes of coarser px that no tile may split."""
