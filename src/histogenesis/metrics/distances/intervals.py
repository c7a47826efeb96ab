"""Intervals for statistics of two image sets.

Bootstrap samples hold duplicates, and duplicates bias FID and break nearest-neighbour counts. So subsets are drawn
*without* duplicates: the spread of a statistic over random halves is the standard deviation of the statistic of the
whole (the delete-d jackknife: Shao and Wu 1989). Where there are enough patients, halves of the patients are drawn, since
patches of one patient are not independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

from histogenesis.core.errors import BadInput

FEWEST_GROUPS = 6


def subsample_interval(
    statistic: Callable[..., np.ndarray | float],
    sets: list,
    value,
    groups: list | None = None,
    level: float = 0.95,
    repeats: int = 40,
    most: int = 2000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of an interval around `value` = statistic(*sets), by subsampling.

    statistic: takes arrays (one per set, rows are images), returns a number or a vector. groups: per set, the patient (or
    slide) of each row; a set with at least 6 groups is subsampled by group, others by image. Half of each set is
    drawn, or less where half is more than `most` images (the same share of every set). The spread of the subsets'
    values about their own mean is scaled by sqrt(f / (1 - f)), f the share drawn; the bias of a statistic
    with the sample size (FID's) thus does not move the interval: it is one for the value *at this sample size*. Where the
    two sets come from one distribution FID and KID vary less than this assumes, and the interval is too wide, not
    too narrow.
    """
    rng = np.random.default_rng(seed)
    groups = groups or [None] * len(sets)
    units = [_units(len(s), g) for s, g in zip(sets, groups)]
    share = min(0.5, most / max(len(s) for s in sets))
    counts = [max(1, int(len(u) * share)) for u in units]
    if min(len(u) for u in units) < 4:
        raise BadInput("an interval needs at least 4 images in each set: draw or cut more patches")
    values = []
    for _ in range(repeats):
        drawn = [
            np.concatenate([u[i] for i in np.sort(rng.choice(len(u), c, replace=False))]) for u, c in zip(units, counts)
        ]
        values.append(np.atleast_1d(statistic(*[s[rows] for s, rows in zip(sets, drawn)])))
    scale = np.sqrt(np.mean([c / (len(u) - c) for u, c in zip(units, counts)]))
    half = stats.t.ppf(0.5 + level / 2, repeats - 1) * np.std(values, axis=0, ddof=1) * scale
    value = np.atleast_1d(value)
    return value - half, value + half


def t_interval(values, level: float = 0.95) -> tuple[float, float, float]:
    """Mean, low, high: Student's interval of the mean of a few independent values (splits, seeds)."""
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def binomial_interval(hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a proportion."""
    interval = stats.binomtest(hits, n).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def _units(n, groups):
    """Rows that are drawn together: each image, or all images of a patient where there are enough patients."""
    if groups is not None:
        names, inverse = np.unique(np.asarray(groups), return_inverse=True)
        if len(names) >= FEWEST_GROUPS:
            return [np.flatnonzero(inverse == i) for i in range(len(names))]
    return list(np.arange(n)[:, None])
