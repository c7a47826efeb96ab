"""Where the seams are: how steep the picture is across each border between two tiles, over how steep it is beside that border.

1: the border is a line like its neighbours; more: a step; less: a line that was blurred or feathered.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histogenesis.core.files import written
from histogenesis.metrics.coherence.strips import on_grid

LEAST_PX = 16  # of tissue along a border; fewer give no score
PICTURE_PX = 1200
STRONG = 1.5  # a score that is drawn in full colour, or its inverse


@dataclass(frozen=True)
class SeamMap:
    """Scores of the borders, NaN without tissue. rows (R, C + 1): along the horizontal line r, between two vertical ones;
    columns (R + 1, C): along the vertical line c; row_at_px (R,), column_at_px (C,): where the lines lie."""

    rows: np.ndarray
    columns: np.ndarray
    row_at_px: np.ndarray
    column_at_px: np.ndarray

    def save(self, path: Path) -> None:
        with written(path) as part:
            np.savez(part, **self.__dict__)


def seam_map(image, plan: np.ndarray | None, row_lines, column_lines, block_px: int = 1) -> SeamMap:
    """image (H, W, 3) uint8, array or HDF5 data set, read in bands of one tile; lines and block_px as in `seams.seam_score`."""
    height, width = image.shape[:2]
    row_lines, column_lines = np.asarray(row_lines, int), np.asarray(column_lines, int)
    row_edges, column_edges = [0, *row_lines, height], [0, *column_lines, width]
    rows = np.full((len(row_lines), len(column_lines) + 1), np.nan)
    columns = np.full((len(row_lines) + 1, len(column_lines)), np.nan)
    for r, y in enumerate(row_lines):
        reach = _reach(row_edges, r, block_px)
        first, last = max(0, y - reach - 1), min(height, y + reach + 1)
        steep, n = _steepness(image, plan, first, last, height, width, axis=0)
        for c, (left, right) in enumerate(pairwise(column_edges)):
            profile = steep[:, left:right].sum(axis=1), n[:, left:right].sum(axis=1)
            rows[r, c] = _score(*profile, y - first - 1, block_px)
    for r, (top, bottom) in enumerate(pairwise(row_edges)):
        steep, n = _steepness(image, plan, top, bottom, height, width, axis=1)
        steep, n = steep.sum(axis=0), n.sum(axis=0)
        for c, x in enumerate(column_lines):
            reach = _reach(column_edges, c, block_px)
            first, last = max(0, x - reach - 1), min(width - 1, x + reach)
            columns[r, c] = _score(steep[first:last], n[first:last], x - first - 1, block_px)
    return SeamMap(rows, columns, row_lines, column_lines)


def render_seam_map(path: Path, image, found: SeamMap) -> None:
    """The level, small: borders that are steeper than their neighbours in red, flatter ones in blue, others in grey."""
    height, width = image.shape[:2]
    step = max(1, -(-max(height, width) // PICTURE_PX))
    small = np.stack([image[y, ::step] for y in range(0, height, step)])
    picture = Image.fromarray((255 - (255 - small.astype(float)) * 0.5).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    row_edges, column_edges = [0, *found.row_at_px, height], [0, *found.column_at_px, width]
    for (r, c), score in np.ndenumerate(found.rows):
        _line(draw, score, (column_edges[c], row_edges[r + 1], column_edges[c + 1], row_edges[r + 1]), step)
    for (r, c), score in np.ndenumerate(found.columns):
        _line(draw, score, (column_edges[c + 1], row_edges[r], column_edges[c + 1], row_edges[r + 1]), step)
    with written(path) as part:
        picture.save(part)


def _line(draw, score, ends, step):
    if not np.isfinite(score) or score <= 0:
        return
    strength = float(np.clip(np.log(score) / np.log(STRONG), -1, 1))
    grey = round(170 * (1 - abs(strength)))
    colour = (grey + round(220 * strength), grey, grey) if strength > 0 else (grey, grey, grey + round(220 * -strength))
    draw.line([round(v / step) for v in ends], fill=colour, width=1 + round(3 * abs(strength)))


def _reach(edges, i, block_px):
    return max(block_px, min(edges[i + 1] - edges[i], edges[i + 2] - edges[i + 1]) // 2)


def _steepness(image, plan, first, last, height, width, axis):
    """|difference| (mean of channels) along the axis within rows first to last, and whether both pixels are tissue."""
    band = image[first:last].astype(np.int16)
    tissue = np.ones(band.shape[:2], bool) if plan is None else on_grid(plan, first, last, height, width)
    both = (tissue[1:] & tissue[:-1]) if axis == 0 else (tissue[:, 1:] & tissue[:, :-1])
    return np.abs(np.diff(band, axis=axis)).mean(axis=2) * both, both


def _score(steep, n, at, block_px) -> float:
    """Of the line `at` over the lines that lie a multiple of block_px away."""
    others = np.arange(len(steep))
    others = others[(others != at) & ((others - at) % block_px == 0)]
    if not 0 <= at < len(steep) or n[at] < LEAST_PX or not n[others].sum() or not steep[others].sum():
        return float("nan")
    return float(steep[at] / n[at] / (steep[others].sum() / n[others].sum()))
