"""Kernel distances: KID (polynomial kernel) and MMD with a Gaussian kernel, as in CMMD. Both are unbiased at any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from histogenesis.metrics.checks import check_pair

BLOCK = 2000
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def polynomial(x, y) -> np.ndarray:
    """(x'y / d + 1)^3 (Binkowski et al. 2018, eq. 3)."""
    base = x @ y.T / x.shape[1] + 1
    return base * base * base  # numpy's power is ten times slower


def gaussian(sigma: float) -> Kernel:
    """exp(-|x - y|^2 / (2 sigma^2))."""

    def kernel(x, y):
        squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
        return np.exp(-np.maximum(squares, 0) / (2 * sigma**2))

    return kernel


def mmd2(x, y, kernel: Kernel, block: int = BLOCK) -> float:
    """The unbiased estimate (U-statistic) of the squared maximum mean discrepancy (Gretton et al. 2012, eq. 3).

    x (n, d), y (m, d), float64. It may be slightly negative when the distributions agree. Memory: block^2.
    """
    n, m = len(x), len(y)
    within = (_sum(x, x, kernel, block) - _diagonal(x, kernel)) / (n * (n - 1))
    within += (_sum(y, y, kernel, block) - _diagonal(y, kernel)) / (m * (m - 1))
    return float(within - 2 * _sum(x, y, kernel, block) / (n * m))


@dataclass(frozen=True)
class Kid:
    """Mean over subsets, the standard deviation between subsets, and the standard error of the mean."""

    value: float
    deviation: float
    standard_error: float
    subset_size: int


def kid(real, generated, subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> Kid:
    """Kernel Inception Distance: mmd2 with the cubic kernel, a mean over random subsets (Binkowski et al. 2018).

    Subsets are drawn without duplicates and hold at most as many images as the smaller set. The standard error is that of
    the mean over subsets, as published; where subsets overlap much it is too small, and the subsampling interval
    (intervals.py) is the one to trust.
    """
    real, generated = check_pair(real, generated)
    size = min(subset_size, len(real), len(generated))
    rng = np.random.default_rng(seed)
    if size == len(real) == len(generated):
        subsets = 1  # every subset would be the whole set
    values = np.array(
        [
            mmd2(
                real[rng.choice(len(real), size, replace=False)],
                generated[rng.choice(len(generated), size, replace=False)],
                polynomial,
            )
            for _ in range(subsets)
        ]
    )
    deviation = float(values.std(ddof=1)) if subsets > 1 else float("nan")
    return Kid(float(values.mean()), deviation, deviation / np.sqrt(subsets), size)


def cmmd(real, generated, sigma: float = 10.0, unit_norm: bool = True, scale: float = 1000.0) -> float:
    """MMD with a Gaussian kernel of bandwidth 10 on features of unit norm, times 1000 (Jayasumana et al. 2024).

    "CMMD-style": the published CMMD uses CLIP features and the biased estimate; here features are those of any encoder, and
    the estimate is the U-statistic, so that small sets are not penalised.
    """
    real, generated = check_pair(real, generated)
    if unit_norm:
        real, generated = (f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12) for f in (real, generated))
    return scale * mmd2(real, generated, gaussian(sigma))


def _sum(x, y, kernel, block):
    return sum(
        kernel(x[i : i + block], y[j : j + block]).sum()
        for i in range(0, len(x), block)
        for j in range(0, len(y), block)
    )


def _diagonal(x, kernel):
    return sum(np.diagonal(kernel(x[i : i + 16], x[i : i + 16])).sum() for i in range(0, len(x), 16))
