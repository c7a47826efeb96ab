"""Distances between large feature sets, in blocks: memory is block x n, whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 1000


def squared_distances(a, b, block: int = BLOCK) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (rows of a, squared Euclidean distances (rows, len(b))); a (n, d), b (m, d), float64."""
    centre = b.mean(axis=0)  # distances do not change, cancellation does
    a, b = a - centre, b - centre
    b_norms = np.einsum("ij,ij->i", b, b)
    for start in range(0, len(a), block):
        rows = slice(start, min(start + block, len(a)))
        part = a[rows]
        distances = part @ b.T
        distances *= -2
        distances += b_norms
        distances += np.einsum("ij,ij->i", part, part)[:, None]
        np.maximum(distances, 0, out=distances)
        yield rows, distances


def squared_radii(a, k: int, block: int = BLOCK, origin=None) -> np.ndarray:
    """Squared distance of each image to its k-th nearest other image, (n,). origin (n,): images of one origin (the same
    patch, turned) are not others to each other; infinite where fewer than k others exist."""
    own = np.arange(len(a)) if origin is None else np.asarray(origin)
    radii = np.empty(len(a))
    for rows, distances in squared_distances(a, a, block):
        distances[own[rows, None] == own] = np.inf
        radii[rows] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii


def nearest(a, b, block: int = BLOCK, origin=None, rows_of_b=None) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a: the distance to its nearest row of b, and which (n,), (n,). origin: a is b, or those rows of it, and
    images of one origin (each its own: np.arange) are no neighbours."""
    index = np.empty(len(a), dtype=np.int64)
    own = origin if origin is None or rows_of_b is None else origin[rows_of_b]
    for rows, distances in squared_distances(a, b, block):
        if own is not None:
            distances[own[rows, None] == origin] = np.inf
        index[rows] = distances.argmin(axis=1)
    exact = np.concatenate(
        [np.linalg.norm(a[i : i + block] - b[index[i : i + block]], axis=1) for i in range(0, len(a), block)]
    )
    return exact, index
