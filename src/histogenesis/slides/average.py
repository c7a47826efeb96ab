"""The mean of a picture over the area of each wanted pixel."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import sparse


def reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Means over blocks of factor x factor pixels of (H, W, 3) uint8, whose sides are multiples of it."""
    if factor == 1:
        return image
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).reduce(factor))


def _area_weights(edges: np.ndarray) -> sparse.csr_matrix:
    """(n, m) weights that average m pixels over the n intervals between `edges` (in pixels, from 0 to at most m)."""
    start, end = edges[:-1], edges[1:]
    first = np.floor(start).astype(np.int64)
    taps = int((np.ceil(end).astype(np.int64) - first).max())
    pixel = first[:, None] + np.arange(taps)
    covered = np.minimum(pixel + 1, end[:, None]) - np.maximum(pixel, start[:, None])
    weights = np.clip(covered, 0, None) / (end - start)[:, None]
    keep = weights > 0
    rows = np.broadcast_to(np.arange(len(start))[:, None], keep.shape)[keep]
    shape = (len(start), int(np.ceil(edges[-1])))
    return sparse.csr_matrix((weights[keep].astype(np.float32), (rows, pixel[keep])), shape=shape)


def area_average(image: np.ndarray, edges_y: np.ndarray, edges_x: np.ndarray) -> np.ndarray:
    """Mean of `image` (H, W, 3) uint8 over a grid of rectangles, with fractional borders weighed by area.

    `edges_y` (h + 1) and `edges_x` (w + 1) are the rectangles' borders in pixels of `image`, rising. Returns (h, w, 3) uint8.
    """
    height, width = len(edges_y) - 1, len(edges_x) - 1
    weights_y, weights_x = _area_weights(edges_y), _area_weights(edges_x)
    image = image[: weights_y.shape[1], : weights_x.shape[1]]
    rows = weights_y @ image.reshape(image.shape[0], -1).astype(np.float32)
    columns = np.ascontiguousarray(rows.reshape(height, image.shape[1], 3).transpose(1, 0, 2))
    out = weights_x @ columns.reshape(image.shape[1], -1)
    out = np.floor(out + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(out.reshape(width, height, 3).transpose(1, 0, 2))
