"""What readers' right and wrong answers say: shares, intervals, and tests against guessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

GUESSING = 0.5
RESAMPLES = 2000


def weighted_mae(counts: Sequence[tuple[int, int]]) -> float:
    """URCDM's W-MAE: |p - 0.5| of every reader, p = FP / (TP + FP), weighted by the number of ratings.

    counts: (TP, FP) of each reader, right and wrong answers. 0: all guess; 0.5: all are always right, or always wrong. Raises
    ValueError where there is no rating. Cechnicka et al. 2023 (NeurIPS workshop), table 1.
    """
    table = np.asarray(counts, float).reshape(-1, 2)
    n = table.sum(axis=1)
    if not n.sum():
        raise ValueError("no ratings, so there is no error to average")
    table, n = table[n > 0], n[n > 0]
    return float((n * np.abs(table[:, 1] / n - GUESSING)).sum() / n.sum())


@dataclass(frozen=True)
class Share:
    """k of n; low, high: 95 % interval of k/n (Clopper-Pearson, exact); p: exact two-sided binomial test against `chance`."""

    k: int
    n: int
    value: float | None
    low: float | None
    high: float | None
    p: float | None
    chance: float


def share(k: int, n: int, chance: float = GUESSING) -> Share:
    if not n:
        return Share(0, 0, None, None, None, None, chance)
    test = binomtest(int(k), int(n), chance)
    ends = test.proportion_ci(0.95, "exact")
    return Share(int(k), int(n), k / n, float(ends.low), float(ends.high), float(test.pvalue), chance)


def resampled(
    right: np.ndarray, by: str, seed: int = 1, resamples: int = RESAMPLES
) -> tuple[float | None, float | None]:
    """95 % bootstrap interval of the share of right answers. right: (readers, cases), 1, 0, or NaN where unanswered.

    by: `reader`, `case`, or `both`: what is sampled with replacement, as whole rows or columns, since answers of one reader, or
    about one picture, are not independent. None where there are fewer than two of them.
    """
    readers, cases = right.shape
    if (
        not np.isfinite(right).any()
        or (by in ("reader", "both") and readers < 2)
        or (by in ("case", "both") and cases < 2)
    ):
        return None, None
    rng = np.random.default_rng(seed)
    answered, one = np.isfinite(right), np.ones(resamples)
    weights = [
        rng.multinomial(n, np.full(n, 1 / n), resamples) if by in (name, "both") else np.ones((resamples, n))
        for name, n in (("reader", readers), ("case", cases))
    ]
    hits = np.einsum("br,rc,bc->b", weights[0], np.where(answered, right, 0.0), weights[1], optimize=True)
    total = np.einsum("br,rc,bc->b", weights[0], answered.astype(float), weights[1], optimize=True)
    shares = np.divide(hits, total, out=one * np.nan, where=total > 0)
    low, high = np.nanquantile(shares, [0.025, 0.975])
    return float(low), float(high)
