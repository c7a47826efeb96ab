"""KID and MMD against their definitions and torchmetrics."""

import numpy as np
import pytest
import torch

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.kernel import cmmd, gaussian, kid, mmd2, polynomial

RNG = np.random.default_rng(3)


def by_definition(x, y, k):
    """Gretton et al. 2012, eq. 3, in plain loops."""
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_definition():
    x, y = RNG.normal(size=(11, 5)), RNG.normal(size=(14, 5)) + 0.3
    cubic = by_definition(x, y, lambda a, b: (a @ b / 5 + 1) ** 3)
    assert mmd2(x, y, polynomial) == pytest.approx(cubic, rel=1e-12)
    assert kid(x, x.copy() + 0, subset_size=11).value == pytest.approx(mmd2(x, x, polynomial))
    gauss = by_definition(x, y, lambda a, b: np.exp(-((a - b) ** 2).sum() / 200))
    assert mmd2(x, y, gaussian(10)) == pytest.approx(gauss, rel=1e-9)
    assert cmmd(x, y, unit_norm=False) == pytest.approx(1000 * gauss, rel=1e-9)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y)]
    assert cmmd(x, y) == pytest.approx(1000 * mmd2(*unit, gaussian(10)), rel=1e-9)


def test_blocks_change_nothing():
    x, y = RNG.normal(size=(301, 4)), RNG.normal(size=(177, 4))
    for kernel in (polynomial, gaussian(2)):
        assert mmd2(x, y, kernel, block=50) == pytest.approx(mmd2(x, y, kernel), rel=1e-10)


def test_unbiased_at_any_size():
    """The mean over many small sets of one distribution is 0, within its standard error."""
    values = [mmd2(RNG.normal(size=(12, 6)), RNG.normal(size=(9, 6)), polynomial) for _ in range(3000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(3000)


def test_kid_equals_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.kid")
    x, y = RNG.normal(size=(60, 8)), RNG.normal(size=(60, 8)) + 0.5
    theirs = float(image.poly_mmd(torch.from_numpy(x), torch.from_numpy(y)))
    assert mmd2(x, y, polynomial) == pytest.approx(theirs, abs=1e-6)


def test_standard_error_covers_the_truth():
    """From big sets, the mean over subsets lies within four standard errors of the whole sets' value."""
    x, y = RNG.normal(size=(600, 5)), RNG.normal(size=(600, 5)) + 0.2
    found = kid(x, y, subsets=60, subset_size=30)
    assert abs(found.value - mmd2(x, y, polynomial)) < 4 * found.standard_error
    assert found.standard_error == pytest.approx(found.deviation / np.sqrt(60))
    assert kid(x, y, 9, 50, seed=5) == kid(x, y, 9, 50, seed=5)
    assert np.isnan(kid(x, y).standard_error)  # one subset, the whole: see intervals.py


def test_bad_features():
    with pytest.raises(BadInput, match="NaN"):
        kid(np.full((5, 2), np.nan), np.ones((5, 2)))
    with pytest.raises(BadInput, match="same encoder"):
        cmmd(np.ones((5, 2)), np.ones((5, 3)))
    with pytest.raises(BadInput, match="too few"):
        kid(np.ones((1, 2)), np.ones((5, 2)))
