"""How surprising it is that two windows, or the quarters of a patch and one training patch, resemble each other as they do.

A correlation counts for as much as it has independent parts: it is turned into -log of how often chance gives as much.
"""

from __future__ import annotations

import numpy as np

FINE = (64, 128, 200)  # components that windows are judged by: the best of these counts


def spread(vectors: np.ndarray) -> np.ndarray:
    """Over how many of its numbers the square of a vector (..., d) is spread: its participation ratio."""
    squares = vectors.astype(np.float64) ** 2
    return squares.sum(axis=-1) ** 2 / np.maximum((squares**2).sum(axis=-1), 1e-300)


def evidence(a: np.ndarray, b: np.ndarray, pixels_a: np.ndarray, pixels_b: np.ndarray, every: bool = False):
    """-log of how often chance correlates whitened vectors (k, d) and (k, d) so well, to three digits: (k,). every: each of
    (k, d) with each of (m, d): (k, m).

    As many components count as a vector spreads over, and no more than the pixels that the window's contrast spreads over
    (k,), (m,): a corner of tissue on glass is many components, and yet only a corner. The order of operations is one that
    threads do not change.
    """
    pairs, column = ("kc,mc->km", np.s_[:, None]) if every else ("kc,kc->k", np.s_[:])
    best = np.zeros(())
    for many in FINE:
        x, y = (v[:, :many].astype(np.float64) for v in (a, b))
        size = np.sqrt((x**2).sum(axis=1)[column] * (y**2).sum(axis=1))
        cosine = np.clip(np.einsum(pairs, x, y) / np.maximum(size, 1e-12), 0, 0.9999)
        free = np.minimum(np.minimum(spread(x), pixels_a)[column], np.minimum(spread(y), pixels_b))
        best = np.maximum(best, -free / 2 * np.log(1 - cosine**2))
    return np.round(best, 3)


def together(found: np.ndarray, quarter: np.ndarray) -> tuple[float, int]:
    """The quarters of one patch in one training patch: -log of how often chance gives as much, and the row that says most.

    found (k, m): evidence of each of the patch's windows, and quarter (k,) which it is of, with each window of the training
    patch. Each quarter counts for what its best match is beyond the best of as many by chance.
    """
    best = found.max(axis=1)
    tried = {q: np.log(len(FINE) * (quarter == q).sum() * found.shape[1]) for q in set(quarter.tolist())}
    return float(sum(max(0.0, best[quarter == q].max() - chance) for q, chance in tried.items())), int(best.argmax())
