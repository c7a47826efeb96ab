"""Intervals for statistics of two image sets, by leaving out whole units: patients, else slides, else parts of one slide.

Patches of one patient are not independent, and a bootstrap's duplicates bias FID and break nearest-neighbour counts. So the
units of each set are joined to at most 20 groups, and

- smooth statistics (FID, MMD): each group is left out once (the jackknife; Efron and Stein 1981: its variance is never too
  small on average). Where two sets come from one distribution the statistic is nearly quadratic, and that variance is twice
  what it should be. Halves of the groups then give three times it, and the difference is taken away (where 20 groups show it).
- counts of neighbours (precision and the like): random halves of the groups, since the jackknife is too wide for them
  (the delete-d jackknife; Shao and Wu 1989).

Student's quantile has the degrees of freedom of the set with fewer groups (for counts, whose variance errs upwards, of both
sets together). The interval is one for the
value *at this number of images*: FID's bias does not move it. Where units are too few there is none, and the text says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

FEWEST_GROUPS = 6
FEWEST_ALIKE = 5.0  # as many units of equal size must weigh as much as these do
FEWEST_PATCHES = 20
GROUPS = 20
QUADRATIC = 1.3  # variance from halves over the jackknife's: 1 where a statistic is linear, 1.5 where it is quadratic
LEVEL = 0.95


@dataclass(frozen=True)
class Units:
    """What is left out together. label (n,): the unit of each image; kind: "patient", "slide", "spatial block" or "patch".
    refused: why no interval can be given of these, empty where one can."""

    label: np.ndarray
    kind: str
    refused: str = ""

    @property
    def many(self) -> int:
        return len(set(self.label.tolist()))

    @property
    def text(self) -> str:
        return f"{self.many} {self.kind}{'es' if self.kind.endswith('ch') else 's'}".replace("1 patients", "1 patient")

    def checked(self) -> Units:
        """The same, refused where there are too few."""
        _, sizes = np.unique(self.label, return_counts=True)
        least = FEWEST_PATCHES if self.kind == "patch" else FEWEST_GROUPS
        if len(sizes) < least:
            return replace(self, refused=f"{self.text}; at least {least} are needed")
        alike = float(sizes.sum() ** 2 / (sizes.astype(float) ** 2).sum())
        if alike < FEWEST_ALIKE:
            why = f"{self.text}, so unlike in size that they weigh as {alike:.1f}; at least {FEWEST_ALIKE:g} are needed"
            return replace(self, refused=why)
        return self


def by_name(names, kind: str = "patient") -> Units:
    """Each name is a unit."""
    return Units(np.unique(np.asarray(names).astype(str), return_inverse=True)[1], kind)


def by_image(n: int) -> Units:
    """Each image is a unit: right only where images are independent, as samples of a model are."""
    return Units(np.arange(n), "patch")


@dataclass(frozen=True)
class Intervals:
    """low, high: of each statistic, NaN where refused; text: how they came about, or why there are none."""

    low: np.ndarray
    high: np.ndarray
    text: str


def group_interval(
    statistic: Callable[..., np.ndarray | float],
    sets: list,
    value,
    units: list[Units | None] | None = None,
    counts=False,
    squared=False,
    level: float = LEVEL,
    n_resamples: int = 40,
    seed: int = 0,
) -> Intervals:
    """95 % intervals around `value` = statistic(*sets).

    statistic: takes arrays (one per set, rows are images; row numbers serve too), returns a number or a vector, NaN where
    it cannot be computed. units: per set; None: each image. counts: which statistics count neighbours; squared: which
    are squared distances, whose error grows with their root: their interval is made for the root. Deterministic in seed.
    """
    value = np.atleast_1d(np.asarray(value, np.float64))
    units = [(u or by_image(len(s))).checked() for s, u in zip(sets, units or [None] * len(sets))]
    refused = "; ".join(dict.fromkeys(u.refused for u in units if u.refused))
    if refused:
        return Intervals(np.full(len(value), np.nan), np.full(len(value), np.nan), f"no interval, {refused}")
    rng = np.random.default_rng(seed)
    groups = [_groups(u, rng) for u in units]
    variance: np.ndarray | float = 0.0
    freedom = []
    for i, group in enumerate(groups):
        k = group.max() + 1
        left = [_call(statistic, [s[group != j] if i == a else s for a, s in enumerate(sets)]) for j in range(k)]
        variance = variance + (k - 1) ** 2 / k * np.var(left, axis=0, ddof=1)
        freedom.append(k - 1)
    known = min(g.max() + 1 for g in groups) >= GROUPS
    if known or np.any(counts):
        half = _halves(statistic, sets, groups, n_resamples, rng)
        quadratic = known & (half > QUADRATIC * variance)
        smooth = np.where(quadratic, np.maximum(variance - (half - variance) / 2, variance / 2), variance)
        variance = np.where(counts, half, smooth)
    free = np.where(counts, sum(freedom), min(freedom))
    width = stats.t.ppf(0.5 + level / 2, free) * np.sqrt(variance)
    above = np.maximum(value, 0)  # (root +- width / (2 root))^2, as far as the interval does not reach 0
    shift = np.where(above > width, width**2 / (4 * np.maximum(above, 1e-300)), above / 4)
    centre = value + np.where(squared, shift, 0)
    return Intervals(centre - width, centre + width, _text(units, level))


def t_interval(values, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean, low, high: Student's interval of the mean of a few independent values (splits, seeds)."""
    values = np.asarray(values, dtype=np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def binomial_interval(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a proportion."""
    interval = stats.binomtest(hits, n).proportion_ci(level, method="exact")
    return float(interval.low), float(interval.high)


def _groups(units: Units, rng) -> np.ndarray:
    """(n,): at most GROUPS groups of whole units, as equal in images as may be, units in random order."""
    _, label, sizes = np.unique(units.label, return_inverse=True, return_counts=True)
    k = min(len(sizes), GROUPS)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, group = np.zeros(k), np.empty(len(sizes), np.int64)
    for unit in order:  # the largest first, each to the emptiest group
        group[unit] = np.argmin(filled)
        filled[group[unit]] += sizes[unit]
    return group[label]


def _halves(statistic, sets, groups, n_resamples, rng) -> np.ndarray:
    values, scales = [], []
    for _ in range(n_resamples):
        parts, scale = [], []
        for s, group in zip(sets, groups):
            k = group.max() + 1
            parts.append(s[np.isin(group, rng.permutation(k)[: k // 2])])
            scale.append((k // 2) / (k - k // 2))
        values.append(_call(statistic, parts))
        scales.append(np.mean(scale))
    return np.var(values, axis=0, ddof=1) * np.mean(scales)


def _call(statistic, parts) -> np.ndarray:
    return np.atleast_1d(np.asarray(statistic(*parts), np.float64))


def _text(units: list[Units], level: float) -> str:
    kinds = list(dict.fromkeys(u.kind for u in units))
    return f"{100 * level:g} % by {' and '.join(kinds)} ({' against '.join(u.text for u in units)})"
