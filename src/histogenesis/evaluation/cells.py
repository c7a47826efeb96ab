"""One cell of the table after the other: a metric that cannot be computed is that cell, with its reason; the rest is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import check_pair
from histogenesis.metrics.distances.frechet import fid, fid_infinity
from histogenesis.metrics.distances.intervals import Units, by_image, by_name, group_interval
from histogenesis.metrics.distances.kernel import cmmd, kid, mmd2, polynomial
from histogenesis.metrics.distances.manifold import NAMES as MANIFOLD
from histogenesis.metrics.distances.manifold import manifold
from histogenesis.recipe import Evaluation

BOUNDS = {"fid": (0, np.inf), "precision": (0, 1), "recall": (0, 1), "density": (0, np.inf), "coverage": (0, 1)}
DISTANCES = ("fid", "fid_infinity", "kid", "cmmd")
NAMES = (*DISTANCES, *MANIFOLD)
EXPECTED = (BadInput, np.linalg.LinAlgError, FloatingPointError, ZeroDivisionError)


class Cell(NamedTuple):
    """value, low, high: None where there is none. why: there is no value; interval: how low and high came about, or why
    there are none."""

    value: float | None
    low: float | None
    high: float | None
    why: str = ""
    interval: str = ""


def compare(reference, other, groups, options: Evaluation, seed: int, origins: list | None = None) -> dict[str, Cell]:
    """Every metric of two feature sets (n, d) and (m, d), `reference` being the real held-out one.

    groups: of each set its Units, or the name of each image's patient, or None where images are independent. origins: of
    each set which images are repeats of one another, or None.
    """
    try:
        sets = check_pair(reference, other)
    except BadInput as error:
        return dict.fromkeys(NAMES, Cell(None, None, None, str(error)))
    units = [_units(g, len(f)) for g, f in zip(groups or (None, None), sets)]
    origins = [None if o is None else np.unique(o, return_inverse=True)[1] for o in origins or (None, None)]
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(f)) % 2 for f in sets]
    reasons: dict[str, str] = {}

    def values(a, b, reasons=None):
        """Of these rows; `kid` as the plain statistic, without subsets."""
        x, y = sets[0][a], sets[1][b]
        found = {
            "fid": lambda: fid(x, y),
            "fid_infinity": lambda: fid_infinity(x, y, (halves[0][a], halves[1][b])).infinite,
            "kid": lambda: mmd2(x, y, polynomial),
            "cmmd": lambda: cmmd(x, y),
        }
        out = {name: attempt(call, name, reasons) for name, call in found.items()}
        k = min(options.neighbours, len(x) - 1, len(y) - 1)
        own = [None if o is None else o[rows] for o, rows in zip(origins, (a, b))]
        counts = attempt(lambda: manifold(x, y, k, real_origin=own[0], generated_origin=own[1]), "precision", reasons)
        for name in MANIFOLD:
            out[name] = counts[name] if isinstance(counts, dict) else np.nan
            if reasons is not None and "precision" in reasons:
                reasons[name] = reasons["precision"]
        return np.array([out[name] for name in NAMES], np.float64)

    rows = [np.arange(len(f)) for f in sets]
    value = values(rows[0], rows[1], reasons)
    value[NAMES.index("kid")] = attempt(lambda: kid(*sets, seed=seed).value, "kid", reasons)
    counts = np.array([name in MANIFOLD for name in NAMES])
    found = group_interval(values, rows, value, units, counts, ~counts, n_resamples=options.n_resamples, seed=seed)
    cells = {}
    for name, v, low, high in zip(NAMES, value, found.low, found.high):
        least, most = BOUNDS.get(name, (-np.inf, np.inf))
        if not np.isfinite(v):
            cells[name] = Cell(None, None, None, reasons.get(name, "the value is not finite"))
        elif np.isfinite(low) and np.isfinite(high):
            cells[name] = Cell(float(v), float(max(low, least)), float(min(high, most)), "", found.text)
        else:
            small = "no interval, with a group of patches left out the value cannot be computed"
            cells[name] = Cell(float(v), None, None, "", found.text if np.isnan(found.low).all() else small)
    return cells


def attempt(call: Callable, name: str, reasons: dict[str, str] | None):
    """What the call returns, or NaN; why it could not be computed goes into `reasons`."""
    try:
        return call()
    except EXPECTED as error:
        if reasons is not None:
            reasons[name] = str(error) or type(error).__name__
        return np.nan


def _units(groups, n: int) -> Units:
    if groups is None:
        return by_image(n)
    return groups if isinstance(groups, Units) else by_name(groups)
