"""Intervals hold the truth as often as they say."""

import numpy as np
import pytest

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.frechet import fid
from histogenesis.metrics.distances.intervals import binomial_interval, subsample_interval, t_interval
from histogenesis.metrics.distances.kernel import mmd2, polynomial


def coverage(draw, truth, statistic, runs, groups=None):
    inside = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        sets = draw(rng)
        low, high = subsample_interval(statistic, sets, statistic(*sets), groups, repeats=40, seed=seed)
        inside += int(low[0] <= truth <= high[0])
    return inside / runs


def test_covers_a_mean_difference():
    share = coverage(
        lambda rng: [rng.normal(size=(60, 1)), rng.normal(size=(90, 1)) + 1], 1, lambda a, b: b.mean() - a.mean(), 300
    )
    assert 0.90 <= share <= 0.99  # 95 % +- 3.8 % (three standard errors of 300 runs)


def test_covers_kid():
    truth = np.mean(
        [
            mmd2(r.normal(size=(800, 3)), r.normal(size=(800, 3)) + 0.7, polynomial)
            for r in map(np.random.default_rng, range(9, 29))
        ]
    )
    share = coverage(
        lambda rng: [rng.normal(size=(100, 3)), rng.normal(size=(100, 3)) + 0.7],
        truth,
        lambda a, b: mmd2(a, b, polynomial),
        150,
    )
    assert 0.87 <= share <= 1


def test_covers_fid_at_its_own_size():
    """The interval is for the expected value at this sample size: bias with n is not its business."""

    def draw(rng):
        return [rng.normal(size=(80, 5)), rng.normal(size=(80, 5)) * 1.5 + 0.5]

    truth = np.mean([fid(*draw(np.random.default_rng(1000 + i))) for i in range(400)])
    assert 0.88 <= coverage(draw, truth, fid, 120) <= 1


def test_patients_count_and_not_patches():
    """Twelve patients with an effect of their own: intervals over patches miss the truth, those over patients hold it."""
    groups = [np.repeat(np.arange(12), 20)] * 2

    def draw(rng):
        return [rng.normal(size=(12, 1)).repeat(20, axis=0) + 0.1 * rng.normal(size=(240, 1)) for _ in range(2)]

    def difference(a, b):
        return b.mean() - a.mean()

    assert coverage(draw, 0, difference, 150, groups) > 0.87
    assert coverage(draw, 0, difference, 60) < 0.6


def test_same_seed_same_interval_and_no_duplicates():
    x = np.arange(50.0)[:, None]

    def all_different(a, b):
        assert len(np.unique(a)) == len(a) == 25
        return a.mean() - b.mean()

    one, two = (subsample_interval(all_different, [x, x + 0.5], 0.5, seed=4) for _ in range(2))
    assert one[0] == two[0]
    with pytest.raises(BadInput, match="at least 4"):
        subsample_interval(all_different, [x[:3], x], 0)


def test_large_sets_are_drawn_in_small_shares():
    """With `most`, small subsets still give the whole's spread."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4000, 1)), rng.normal(size=(4000, 1))
    low, high = subsample_interval(lambda a, b: b.mean() - a.mean(), [x, y], 0, repeats=400, most=200)
    assert (high - low)[0] / 2 == pytest.approx(1.96 * np.sqrt(2 / 4000), rel=0.15)


def test_t_and_binomial():
    assert t_interval([1, 2, 3]) == pytest.approx((2, 2 - 4.30265 / np.sqrt(3), 2 + 4.30265 / np.sqrt(3)), rel=1e-5)
    assert np.isnan(t_interval([1])[1])
    low, high = binomial_interval(0, 50)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 50))  # in closed form for no hits
