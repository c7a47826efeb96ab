"""Cross-scale error: does a level, averaged over the pixels of the level above, give the level above?

In uint8 steps (0 to 255). 0.5 at most is what rounding a level to uint8 leaves; more is freedom that a constraint
left (relaxation, a learnt condition) or a constraint that does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from histogenesis.core.errors import BadInput
from histogenesis.metrics.coherence.error_map import ErrorMap
from histogenesis.metrics.coherence.strips import STRIP_ROWS, on_grid

VALUES_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class CrossScaleError:
    """Of |average of the finer level - coarser level| over pixels and channels, in uint8 steps; None without pixels."""

    mean: float | None
    rmse: float | None
    max: float | None
    pixels: int


def area_weights(many: int, few: int) -> sparse.csr_array:
    """(few, many): the share that each of `many` equal cells has in each of `few`, on the same length; rows sum to 1.

    Exact for any ratio: a cell that straddles a border counts by its part on either side.
    """
    ratio = many / few
    edges = np.arange(few + 1) * ratio
    first, last = np.floor(edges[:-1] + 1e-9).astype(int), np.ceil(edges[1:] - 1e-9).astype(int)
    counts = last - first
    cells = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    rows = np.repeat(np.arange(few), counts)
    shares = np.minimum(cells + 1, edges[rows + 1]) - np.maximum(cells, edges[rows])
    return sparse.csr_array((shares / ratio, (rows, cells)), shape=(few, many)).astype(np.float32)


def pooled(image, height: int, width: int) -> Iterator[tuple[int, np.ndarray]]:
    """A canvas (H, W, 3) uint8 averaged to height x width px, in bands: yields (first row, float32 (rows, width, 3)).

    Reads an array or HDF5 data set once, in strips of about 256 rows. Raises BadInput if that would enlarge it.
    """
    tall, wide = image.shape[:2]
    if height > tall or width > wide:
        raise BadInput(f"cannot average {tall} x {wide} px to {height} x {width} px: that is finer")
    by_row, by_column = area_weights(tall, height), area_weights(wide, width)
    rows = max(1, int(STRIP_ROWS * height / tall))
    for first in range(0, height, rows):
        last = min(first + rows, height)
        weights = by_row[first:last]
        top, bottom = weights.indices.min(), weights.indices.max() + 1
        strip = image[top:bottom].reshape(bottom - top, wide * 3)
        weights = weights[:, top:bottom]
        band = np.empty((last - first, wide * 3), np.float32)
        for left in range(0, wide * 3, VALUES_AT_ONCE):
            part = slice(left, left + VALUES_AT_ONCE)
            band[:, part] = weights @ strip[:, part].astype(np.float32)
        band = band.reshape(last - first, wide, 3).swapaxes(0, 1).reshape(wide, -1)
        yield first, (by_column @ band).reshape(width, last - first, 3).swapaxes(0, 1)


def cross_scale_error(
    finer, coarser, plan: np.ndarray | None = None, into: ErrorMap | None = None
) -> dict[str, CrossScaleError]:
    """{"tissue": ..., "overall": ...} of two levels (H, W, 3) uint8 of one slide; plan as in `gradient_profiles`. `into`: a map
    of the coarser level's size, which the errors are added to."""
    height, width = coarser.shape[:2]
    ratios = finer.shape[0] / height, finer.shape[1] / width
    if abs(ratios[0] / ratios[1] - 1) > 0.02:
        raise BadInput(
            f"levels of {finer.shape[:2]} and {(height, width)} px are no two resolutions of one slide:"
            f" {ratios[0]:.4g} times as high, {ratios[1]:.4g} times as wide"
        )
    total, square, worst, pixels = np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2, np.int64)
    for first, band in pooled(finer, height, width):
        last = first + len(band)
        error = np.abs(band - coarser[first:last])
        if into is not None:
            into.add(first, error)
        tissue = np.ones(error.shape[:2], bool) if plan is None else on_grid(plan, first, last, height, width)
        for i, part in enumerate((error[tissue], error)):
            if part.size:
                total[i] += part.sum(dtype=np.float64)
                square[i] += np.square(part, dtype=np.float64).sum()
                worst[i] = max(worst[i], part.max())
                pixels[i] += part.size // 3
    return {
        name: CrossScaleError(
            float(total[i] / pixels[i] / 3), float((square[i] / pixels[i] / 3) ** 0.5), float(worst[i]), int(pixels[i])
        )
        if pixels[i]
        else CrossScaleError(None, None, None, 0)
        for i, name in enumerate(("tissue", "overall"))
    }
