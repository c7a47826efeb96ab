"""How many cases a reader study needs: to find that readers tell real from synthetic, or to show that they hardly do.

One reader's answers are independent given the cases, so one reader's numbers are exact. Several readers differ, and share
the cases: `readers_power` simulates them and tests the mean of their shares, as the analysis does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import beta, binom, norm, t

MOST = 50_000
SIMULATED = 2000


def detects(n: int, accuracy: float, alpha: float = 0.05) -> float:
    """The chance that n answers of one reader, right with `accuracy`, differ from guessing by the exact two-sided test."""
    k = np.arange(n + 1)
    p = np.minimum(1.0, 2 * binom.cdf(np.minimum(k, n - k), n, 0.5))
    return float(binom.pmf(k[p <= alpha], n, accuracy).sum())


def confines(n: int, margin: float, alpha: float = 0.05) -> float:
    """The chance that n answers of a reader who guesses show that the share right is within `margin` of one half: the 1 - 2
    alpha interval (Clopper-Pearson) lies within it, which is two one-sided tests."""
    k = np.arange(n + 1)
    low = np.where(k > 0, beta.ppf(alpha, np.maximum(k, 1), n - k + 1), 0.0)
    high = np.where(k < n, beta.ppf(1 - alpha, k + 1, np.maximum(n - k, 1)), 1.0)
    return float(binom.pmf(k[(low > 0.5 - margin) & (high < 0.5 + margin)], n, 0.5).sum())


def cases_for(power: float, chance_of: Callable[[int], float]) -> int | None:
    """The fewest cases from which on `chance_of(cases)` stays at `power` for the next nine numbers too, since exact tests
    saw-tooth; None beyond MOST."""

    def holds(n: int) -> bool:
        return all(chance_of(n + k) >= power for k in range(10))

    low, high = 1, 2
    while not holds(high):
        low, high = high, high * 2
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def readers_power(
    cases: int,
    readers: int,
    accuracy: float,
    spread: float,
    alpha: float = 0.05,
    seed: int = 1,
    simulated: int = SIMULATED,
) -> float:
    """The chance that the mean share right of several readers differs from one half (Student's t over readers).

    spread: standard deviation of the readers' own accuracies; accuracy: their mean. One reader: the exact test.
    """
    if readers == 1:
        return detects(cases, accuracy, alpha)
    rng = np.random.default_rng(seed)
    own = (
        np.clip(norm.rvs(accuracy, spread, (simulated, readers), random_state=rng), 0.001, 0.999)
        if spread
        else accuracy
    )
    shares = rng.binomial(cases, np.broadcast_to(own, (simulated, readers))) / cases
    error = shares.std(axis=1, ddof=1) / readers**0.5
    away = np.abs(shares.mean(axis=1) - 0.5)
    return float((away > t.ppf(1 - alpha / 2, readers - 1) * np.maximum(error, 1e-12)).mean())
