"""AUC of readers' certainty, for one reader and for many: each reader's own by DeLong, all readers' by Obuchowski and Rockette.

For readers who all rate the same cases under one condition, the mean AUC varies with the cases, which all readers share, and
with the readers. Obuchowski and Rockette 1995, with the degrees of freedom of Hillis 2007: with r readers and AUCs A_1 .. A_r,

    MS(R)  = sum (A_i - mean)^2 / (r - 1)
    Cov    = mean covariance of two readers' AUCs over cases (DeLong's structural components)
    var    = (MS(R) + max(r Cov, 0)) / r        df = (MS(R) + max(r Cov, 0))^2 / (MS(R)^2 / (r - 1))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

FEWEST_READERS = 3


@dataclass(frozen=True)
class Auc:
    """value, its 95 % interval, and p of a two-sided test against 0.5; df is None where it is of one reader, or of cases
    alone."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    df: float | None = None
    method: str = ""


def components(rating: np.ndarray, positive: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """AUC, and DeLong's structural components of positives and of negatives: the share of the other kind that each stands on
    the right side of, ties counting half. rating (n), positive: bool (n)."""
    above, below = rating[positive][:, None], rating[~positive][None, :]
    order = (above > below) + 0.5 * (above == below)
    return float(order.mean()), order.mean(axis=1), order.mean(axis=0)


def covariance(ratings: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUCs (r) and their covariance (r, r) over cases. ratings: (r, n), without gaps. DeLong et al. 1988."""
    found = [components(row, positive) for row in ratings]
    parts = (np.array([one[k] for one in found]) for k in (1, 2))
    cov = sum(np.atleast_2d(np.cov(part)) / part.shape[1] for part in parts)
    return np.array([one[0] for one in found]), cov


def auc_of_reader(rating: np.ndarray, positive: np.ndarray) -> Auc:
    """Of the cases that this reader has rated (NaN: not rated); no value with fewer than two of either kind."""
    known = np.isfinite(rating)
    rating, positive = rating[known], positive[known]
    if min(positive.sum(), (~positive).sum()) < 2:
        return Auc(None, None, None, None)
    (value,), cov = covariance(rating[None], positive)
    return _interval(float(value), float(cov[0, 0]), None, "DeLong")


def auc_of_readers(ratings: np.ndarray, positive: np.ndarray) -> Auc:
    """The mean AUC of readers (r, n), over cases that all of them have rated. Of fewer than three readers the interval is over
    cases alone, and says nothing of other readers."""
    known = np.isfinite(ratings).all(axis=0)
    ratings, positive = ratings[:, known], positive[known]
    r = len(ratings)
    if not r or min(positive.sum(), (~positive).sum()) < 2:
        return Auc(None, None, None, None)
    values, cov = covariance(ratings, positive)
    value = float(values.mean())
    if r < FEWEST_READERS:
        return _interval(value, float(cov.mean()), None, "DeLong, over cases alone: too few readers")
    ms_readers = float(values.var(ddof=1))
    shared = max(float(cov[~np.eye(r, dtype=bool)].mean()) * r, 0.0)
    df = (ms_readers + shared) ** 2 / (ms_readers**2 / (r - 1)) if ms_readers else None
    return _interval(value, (ms_readers + shared) / r, df, "Obuchowski-Rockette, over readers and cases")


def _interval(value: float, variance: float, df: float | None, method: str) -> Auc:
    law = t(df) if df else norm
    error = variance**0.5
    if error == 0:  # every case is rated alike, or all are told apart: nothing varies
        return Auc(value, value, value, 1.0 if value == 0.5 else 0.0, df, f"{method}; without spread")
    half = float(law.ppf(0.975)) * error
    p = 2 * float(law.sf(abs(value - 0.5) / error))
    return Auc(value, max(0.0, value - half), min(1.0, value + half), p, df, method)
