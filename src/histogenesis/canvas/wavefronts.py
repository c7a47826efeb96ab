"""Overlapping tiles, and the order in which they may be drawn when each holds what its finished neighbours have drawn.

Tiles lie every `stride` px, at least half a tile apart, so that a pixel belongs to two at most along each side. A pixel is
decided by the first tile, in the order of the wavefronts, that covers it: that tile's core has it. Tiles of one wavefront
decide nothing that another of them sees, so they can be drawn at the same time, anywhere.
"""

from collections.abc import Callable

from histogenesis.canvas.tiling import Tile, TileIndex


def starts(side_px: int, tile_px: int, stride_px: int) -> range:
    """Where tiles begin along one side; the recipe's model checks that the last one ends where the canvas does."""
    assert (side_px - tile_px) % stride_px == 0 and tile_px <= 2 * stride_px
    return range(0, side_px - tile_px + 1, stride_px)


def raster_wavefront(i: int, j: int) -> int:
    """Diagonal by diagonal: a tile waits for W, N and NW (and NE holds nothing that N has not decided before it)."""
    return i + j


def checkerboard_wavefront(i: int, j: int) -> int:
    """Four colours: even rows and columns first, then tiles between two of them, then those between four."""
    return 2 * (i % 2) + j % 2


WAVEFRONTS: dict[str, Callable[[int, int], int]] = {"raster": raster_wavefront, "checkerboard": checkerboard_wavefront}


def wavefronts(height: int, width: int, tile_px: int, stride_px: int, order: str) -> list[dict[TileIndex, Tile]]:
    """Tiles wavefront by wavefront: their cores cover every pixel of the canvas exactly once."""
    rows, columns = starts(height, tile_px, stride_px), starts(width, tile_px, stride_px)
    wavefront_of = WAVEFRONTS[order]
    by_wavefront: dict[int, dict[TileIndex, Tile]] = {}
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            core = (
                _core(i, y, len(rows), tile_px, stride_px, order),
                _core(j, x, len(columns), tile_px, stride_px, order),
            )
            by_wavefront.setdefault(wavefront_of(i, j), {})[i, j] = Tile(y, x, tile_px, core)
    return [by_wavefront[number] for number in sorted(by_wavefront)]


def _core(n: int, start: int, count: int, tile_px: int, stride_px: int, order: str) -> slice:
    """What the n-th tile along one side decides: all but what is shared with tiles that come before it."""
    shared = tile_px - stride_px
    if order == "raster":
        before, after = n > 0, False
    else:
        before, after = n % 2 == 1, n % 2 == 1 and n + 1 < count
    return slice(start + shared * before, start + tile_px - shared * after)


def overlapping(height: int, width: int, tile_px: int, stride_px: int) -> dict[TileIndex, Tile]:
    """The same tiles where each decides its whole window together with the others (`average`)."""
    rows, columns = starts(height, tile_px, stride_px), starts(width, tile_px, stride_px)
    return {
        (i, j): Tile(y, x, tile_px, (slice(y, y + tile_px), slice(x, x + tile_px)))
        for i, y in enumerate(rows)
        for j, x in enumerate(columns)
    }


def neighbours(index: TileIndex) -> list[TileIndex]:
    """The eight indices around a tile: no other tile can overlap it."""
    i, j = index
    return [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]


def check_stride(where: str, size_px: tuple[int, int], tile_px: int, stride_px: int, blocks_px: list[int]) -> None:
    """Raises ValueError where tiles do not overlap (two at most), do not end where the canvas does, or split a block."""
    if not tile_px / 2 <= stride_px < tile_px:
        raise ValueError(
            f"{where}: stride_px {stride_px} must be at least half of tile_px {tile_px}, and less than it: tiles overlap with"
            " their next neighbours only"
        )
    for name, side in zip(("height", "width"), size_px):
        over = (side - tile_px) % stride_px
        if over:
            raise ValueError(
                f"{where}: tiles of {tile_px} px every {stride_px} px do not end at a {name} of {side} px; make it"
                f" {side - over} or {side - over + stride_px}"
            )
    for block in blocks_px:
        if stride_px % block or (tile_px - stride_px) % block:
            raise ValueError(
                f"{where}: stride_px {stride_px} is not a multiple of {block}, so tiles would split a coarser pixel"
            )
