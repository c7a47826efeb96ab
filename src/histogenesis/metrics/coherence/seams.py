"""Seams: is the picture steeper across the lines between tiles than across lines elsewhere?

A seam score is the mean absolute difference of the two pixels beside a tile line, over tissue, divided by the same on
lines that were shifted at random. 1 says that a tile line is a line like any other.

The interval comes from the same shifts. Where there is no seam, a tile line and its shifted neighbours are
exchangeable, so the score on tile lines lies between the 2.5th and 97.5th percentile of the shifted ones in 95 % of
cases; the interval is that statement turned round (the score over those percentiles), so that it covers 1 exactly then.

Two things would look like seams and are none. Texture differs from place to place: lines are shifted by half a tile
at most, so that each is compared with its own neighbourhood. And a level that averages back to the level above has
blocks, whose borders are steeper than their inside; tile lines fall on block borders, so shifts are multiples of the
block (`block_px`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histogenesis.metrics.coherence.strips import on_grid, strips

COLUMNS_AT_ONCE = 512
CLEAR_P = 0.05


@dataclass(frozen=True)
class Profiles:
    """Sum of |difference| (uint8 units, mean of the channels) across each line, and of how many tissue pixels.

    Element x of `columns` (W,) is the vertical line between columns x - 1 and x; element y of `rows` (H,) the
    horizontal one between rows y - 1 and y. Element 0 is empty.
    """

    columns: np.ndarray
    columns_n: np.ndarray
    rows: np.ndarray
    rows_n: np.ndarray


@dataclass(frozen=True)
class SeamScore:
    """`score` is a ratio, `jump` a difference in uint8 steps, each with its 95 % interval; None where unmeasurable."""

    score: float | None = None
    low: float | None = None
    high: float | None = None
    jump: float | None = None
    jump_low: float | None = None
    jump_high: float | None = None
    p: float | None = None  # how often shifted lines are at least as steep
    p_flatter: float | None = None  # how often they are at most as steep
    p_two_sided: float | None = None  # twice the smaller of both, at most 1: a blurred line is a seam too
    kind: str | None = None  # "none", "steep" or "flat"; None where unmeasurable
    lines: int = 0  # tile lines that cross tissue
    pixels: int = 0  # pixels of tissue beside them
    shifts: int = 0
    note: str = ""
    by_line: tuple[dict, ...] = ()  # of each tile line: axis, at_px, score, p_two_sided, pixels


def tile_lines(size_px: int, tile_px: int, stride_px: int | None = None, order: str | None = None) -> np.ndarray:
    """Where tiles of a fixed grid meet along one side: the multiples of tile_px inside the canvas.

    Of overlapping tiles every stride_px (canvas/wavefronts.py): where one decides and then another does. In the order `raster`
    each but the first begins where the one before ends; in a checkerboard every other lies between its neighbours' borders;
    without an order, all borders.
    """
    if stride_px is None:
        return np.arange(tile_px, size_px, tile_px)
    starts, shared = np.arange(stride_px, size_px - tile_px + 1, stride_px), tile_px - stride_px
    if order == "raster":
        return starts + shared
    if order == "checkerboard":
        between = starts[::2]  # the second tile, the fourth, ...
        after = between + stride_px
        return np.sort(np.concatenate([between + shared, after[after <= size_px - tile_px]]))
    return np.sort(np.concatenate([starts, starts + shared]))


def gradient_profiles(image, plan: np.ndarray | None = None) -> Profiles:
    """Steepness across every vertical and horizontal line of a canvas, in bounded memory (about 200 MB at 65,536 px).

    image: (H, W, 3) uint8, an array or HDF5 data set, read in strips. plan: bool, the tissue plan at any resolution;
    both pixels beside a line must be tissue. None takes every pixel.
    """
    height, width = image.shape[:2]
    columns, columns_n = np.zeros(width), np.zeros(width, np.int64)
    rows, rows_n = np.zeros(height), np.zeros(height, np.int64)
    for first, last in strips(height):
        above = max(first - 1, 0)
        strip = image[above:last]
        tissue = np.ones(strip.shape[:2], bool) if plan is None else on_grid(plan, above, last, height, width)
        own = slice(first - above, None)  # the row above belongs to the strip before, but for the difference to it
        for left in range(0, width, COLUMNS_AT_ONCE):
            right = min(left + COLUMNS_AT_ONCE, width)
            before = max(left - 1, 0)
            block, inside = strip[:, before:right], tissue[:, before:right]
            both = inside[own, 1:] & inside[own, :-1]
            steep = _difference(block[own, 1:], block[own, :-1], both)
            columns[before + 1 : right] += steep.sum(axis=0, dtype=np.uint32).sum(axis=1) / 3
            columns_n[before + 1 : right] += both.sum(axis=0)
            block, inside = block[:, left - before :], inside[:, left - before :]
            both = inside[1:] & inside[:-1]
            rows[above + 1 : last] += _difference(block[1:], block[:-1], both).sum(axis=(1, 2), dtype=np.uint32) / 3
            rows_n[above + 1 : last] += both.sum(axis=1)
    return Profiles(columns, columns_n, rows, rows_n)


def _difference(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> np.ndarray:
    """|one - other| of uint8 pictures, 0 outside `where`."""
    steep = np.maximum(one, other) - np.minimum(one, other)
    return steep if where.all() else steep * where[..., None]


def seam_score(
    profiles: Profiles,
    row_lines: np.ndarray,
    column_lines: np.ndarray,
    shifts: int = 200,
    seed: int = 0,
    block_px: int = 1,
) -> SeamScore:
    """Compare the given tile lines (row and column positions in px) with lines shifted at random, `shifts` times.

    A shift moves all vertical lines by one step and all horizontal ones by another, so that a shifted grid is a grid:
    multiples of block_px other than 0, up to half a tile either way.
    """
    grids = [
        _shifted(np.asarray(lines), total, n, block_px)
        for lines, total, n in (
            (row_lines, profiles.rows, profiles.rows_n),
            (column_lines, profiles.columns, profiles.columns_n),
        )
    ]
    grids = [grid for grid in grids if grid is not None]
    if not grids:
        return SeamScore(shifts=shifts, note="no two tiles meet inside tissue")
    lines, pixels = sum(grid.lines for grid in grids), sum(grid.pixels for grid in grids)
    rng = np.random.default_rng(seed)
    shifted_sum, shifted_n = np.zeros(shifts), np.zeros(shifts)
    for grid in grids:
        pick = rng.integers(len(grid.shifted_pixels), size=shifts)
        shifted_sum += grid.shifted_total[pick]
        shifted_n += grid.shifted_pixels[pick]
    shifted = shifted_sum / shifted_n
    observed = float(sum(grid.total for grid in grids) / pixels)
    # "weibull" is the quantile that one more draw exceeds with just that probability, however few draws there are
    below, above = np.quantile(shifted, (0.025, 0.975), method="weibull")
    if below <= 0:
        why = "the shifted lines are flat: nothing to compare with"
        return SeamScore(lines=lines, pixels=int(pixels), shifts=shifts, note=why)
    steeper = float((1 + np.sum(shifted >= observed)) / (1 + shifts))
    flatter = float((1 + np.sum(shifted <= observed)) / (1 + shifts))
    both = min(1.0, 2 * min(steeper, flatter))
    return SeamScore(
        score=float(observed / shifted.mean()),
        low=float(observed / above),
        high=float(observed / below),
        jump=float(observed - shifted.mean()),
        jump_low=float(observed - above),
        jump_high=float(observed - below),
        p=steeper,
        p_flatter=flatter,
        p_two_sided=both,
        kind="none" if both >= CLEAR_P else "steep" if steeper < flatter else "flat",
        lines=lines,
        pixels=int(pixels),
        shifts=shifts,
        by_line=tuple(
            line
            for axis, at, total, n in (
                ("row", row_lines, profiles.rows, profiles.rows_n),
                ("column", column_lines, profiles.columns, profiles.columns_n),
            )
            for line in _each_line(axis, np.asarray(at), total, n, block_px)
        ),
    )


@dataclass(frozen=True)
class _Grid:
    """Sums over the tile lines of one direction, and over the same lines at each shift."""

    total: float
    pixels: int
    lines: int
    shifted_total: np.ndarray
    shifted_pixels: np.ndarray


def _each_line(axis: str, lines: np.ndarray, total: np.ndarray, n: np.ndarray, block_px: int) -> list[dict]:
    """Each tile line that crosses tissue beside its own neighbours, up to half a tile away."""
    found = []
    for line in lines:
        grid = _shifted(np.array([line]), total, n, block_px, float(np.median(np.diff([0, *lines, len(total)])) / 2))
        if grid is None or not grid.shifted_total.sum():
            continue
        beside, own = grid.shifted_total / grid.shifted_pixels, grid.total / grid.pixels
        ends = [(1 + np.sum(beside >= own)) / (1 + len(beside)), (1 + np.sum(beside <= own)) / (1 + len(beside))]
        line_found = {"axis": axis, "at_px": int(line), "score": float(own / beside.mean())}
        found.append(line_found | {"p_two_sided": float(min(1, 2 * min(ends))), "pixels": grid.pixels})
    return found


def _shifted(
    lines: np.ndarray, total: np.ndarray, n: np.ndarray, block_px: int, reach: float | None = None
) -> _Grid | None:
    """None when no line crosses tissue, or none can be shifted. A line that a shift moves off the canvas drops out."""
    if not len(lines):
        return None
    size_px = len(total)
    reach = np.median(np.diff([0, *lines, size_px])) / 2 if reach is None else reach
    steps = np.arange(-np.floor(reach / block_px), np.ceil(reach / block_px)).astype(int) * block_px
    at = lines + steps[steps != 0][:, None]
    inside = (at > 0) & (at < size_px)
    at = np.where(inside, at, 0)  # element 0 of a profile is empty
    shifted_total, shifted_pixels = total[at].sum(axis=1), n[at].sum(axis=1)
    crossed = shifted_pixels > 0
    if not n[lines].any() or not crossed.any():
        return None
    return _Grid(
        float(total[lines].sum()),
        int(n[lines].sum()),
        int((n[lines] > 0).sum()),
        shifted_total[crossed],
        shifted_pixels[crossed],
    )
