"""Intervals hold the truth as often as they say, or are refused: known Gaussians, patients, one slide with large structure."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from histogenesis.metrics.distances.blocks import median_blocks, neighbour_likeness, spatial_blocks
from histogenesis.metrics.distances.frechet import fid, fid_infinity, frechet_distance
from histogenesis.metrics.distances.intervals import (
    Units,
    binomial_interval,
    by_image,
    by_name,
    group_interval,
    t_interval,
)
from histogenesis.metrics.distances.kernel import mmd2, polynomial
from histogenesis.metrics.distances.manifold import manifold

D, RUNS = 4, 120


def statistics(a, b):
    """FID, KID, precision, coverage."""
    found = manifold(a, b, 3)
    return np.array([fid(a, b), mmd2(a, b, polynomial), found["precision"], found["coverage"]])


COUNTS = np.array([False, False, True, True])


def patients(rng, many, each, shift=0.0, icc=0.3):
    """(many * each, D) of patients with an effect of their own, and who each is of."""
    own, rest = rng.normal(size=(many, 1, D)), rng.normal(size=(many, each, D))
    x = np.sqrt(icc) * own + np.sqrt(1 - icc) * rest + shift
    return x.reshape(-1, D), by_name(np.repeat(np.arange(many), each))


def shares(draw, truth=None, statistic=statistics, counts=COUNTS, runs=RUNS, **how):
    """How often the interval of each statistic holds its expectation (or the truth), of the runs that were not refused."""
    if truth is None:
        truth = np.mean([statistic(*[x for x, _ in draw(np.random.default_rng([9, i]))]) for i in range(300)], axis=0)
    inside, refused = [], 0
    for seed in range(runs):
        sets, units = zip(*draw(np.random.default_rng([1, seed])))
        found = group_interval(statistic, list(sets), statistic(*sets), list(units), counts, ~counts, seed=seed, **how)
        if "no interval" in found.text:
            refused += 1
            continue
        inside.append((found.low <= truth) & (truth <= found.high))
    return (np.mean(inside, axis=0) if inside else None), refused


def test_known_gaussians_and_the_closed_form_of_their_distance():
    """FID extrapolated to infinitely many images, against Frechet's distance of the two Gaussians themselves."""
    sigma = np.array([1, 1.5, 0.7, 1])
    truth = frechet_distance(np.zeros(D), np.eye(D), np.full(D, 0.5), np.diag(sigma**2))

    def found(seed):
        rng = np.random.default_rng([2, seed])
        x, y = rng.normal(size=(100, D)), rng.normal(size=(100, D)) * sigma + 0.5
        halves = np.arange(100) % 2

        def infinite(a, b):
            return fid_infinity(x[a], y[b], (halves[a], halves[b])).infinite

        rows = [np.arange(100)] * 2
        return group_interval(infinite, rows, infinite(*rows), squared=True, seed=seed)

    intervals = [found(seed) for seed in range(200)]
    share = np.mean([(f.low <= truth) & (truth <= f.high) for f in intervals])
    assert 0.90 <= share <= 0.99
    values = [(f.low[0] + f.high[0]) / 2 for f in intervals]
    width = np.mean([f.high[0] - f.low[0] for f in intervals]) / 2
    assert 1.6 <= width / np.std(values) <= 2.8  # 2.0 would be exact; two to three times that is what it was


@pytest.mark.parametrize(("many", "each"), [(6, 12), (10, 8)])
def test_patients_who_are_alike_within(many, each):
    share, refused = shares(lambda rng: (patients(rng, many, each), patients(rng, many, each, 0.7)))
    assert refused == 0
    assert (share >= 0.90).all() and (share <= 0.99).all(), share


def test_intervals_over_patches_would_miss_the_truth():
    """What the patients are for: the same sets, each patch a unit."""
    share, _ = shares(
        lambda rng: tuple((x, None) for x, _ in (patients(rng, 10, 8), patients(rng, 10, 8, 0.7))),
        runs=60,
        n_resamples=10,
    )
    assert (share[:2] < 0.8).all(), share


def test_independent_images():
    share, _ = shares(
        lambda rng: ((rng.normal(size=(100, D)), None), (rng.normal(size=(100, D)) + 0.7, None)), n_resamples=30
    )
    assert (share >= 0.90).all() and (share <= 0.99).all(), share


def field(rng, length, share=0.5, side=16):
    """One slide: patches on a grid, features with structure of that length (in patches) and without; (n, D), (n, 2)."""
    pad = int(3 * length) + 1
    smooth = np.stack([gaussian_filter(rng.normal(size=(side + 2 * pad,) * 2), length) for _ in range(D)], axis=-1)
    smooth = smooth[pad : pad + side, pad : pad + side] * (2 * length * np.sqrt(np.pi))
    x = np.sqrt(share) * smooth + np.sqrt(1 - share) * rng.normal(size=smooth.shape)
    return x.reshape(-1, D), np.stack(np.mgrid[:side, :side], axis=-1).reshape(-1, 2).astype(float)


def test_one_slide_is_drawn_by_blocks_or_not_at_all():
    """Structure of half a patch: intervals that hold. Of a quarter of the slide: refused."""

    def draw(length):
        def pair(rng):
            sets = []
            for shift in (0, 0.7):
                x, xy = field(rng, length)
                sets.append((x + shift, spatial_blocks(xy, x)))
            return sets

        return pair

    share, refused = shares(draw(0.5), runs=100, n_resamples=20)
    assert refused < 40
    assert (share >= 0.90).all() and (share <= 0.99).all(), share
    kept = [spatial_blocks(xy, x) for x, xy in (field(np.random.default_rng(i), 4) for i in range(40))]
    assert sum(not units.refused for units in kept) <= 2
    assert "structure is too large" in next(units.refused for units in kept if units.refused)


def test_too_few_units_give_no_interval_and_say_how_many():
    x = np.arange(12.0)[:, None]

    def difference(a, b):
        return b.mean() - a.mean()

    for names, text in (
        (["a", "b"] * 6, "no interval, 2 patients; at least 6 are needed"),
        (["a"] * 7 + list("bcdef"), "weigh as"),
    ):
        found = group_interval(difference, [x, x], 0, [by_name(names), by_image(12)])
        assert np.isnan(found.low).all() and np.isnan(found.high).all()
        assert text in found.text
    assert "12 patches" in group_interval(difference, [x, x], 0).text
    enough = group_interval(difference, [x, x], 0, [by_name(list("abcdef") * 2)] * 2)
    assert enough.text == "95 % by patient (6 patients against 6 patients)"
    assert enough.low[0] < 0 < enough.high[0]


def test_whole_units_are_left_out_and_nothing_is_there_twice():
    names = np.repeat(np.arange(7), 3)
    seen = []

    def look(a, b):
        seen.append(a)
        assert len(np.unique(a)) == len(a)
        counts = np.bincount(names[a], minlength=7)
        assert set(counts) <= {0, 3}
        return 0.0

    group_interval(look, [np.arange(21)] * 2, 0, [by_name(names)] * 2, counts=True, n_resamples=5)
    assert {len(a) for a in seen} == {21, 18, 9}


def test_the_variance_of_a_mean_is_the_textbooks():
    """Left out one by one, the error of a difference of means is that of Welch's test, exactly."""
    from scipy import stats

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=9), 2 * rng.normal(size=14) + 1
    found = group_interval(
        lambda x, y: y.mean() - x.mean(), [a, b], b.mean() - a.mean(), [by_name(np.arange(9)), by_name(np.arange(14))]
    )
    theirs = stats.ttest_ind(b, a, equal_var=False)
    error = (b.mean() - a.mean()) / theirs.statistic
    assert (found.high[0] - found.low[0]) / 2 == pytest.approx(stats.t.ppf(0.975, 8) * error, rel=1e-9)


def test_blocks_hold_as_many_patches_each_and_know_their_neighbours():
    xy = np.stack(np.mgrid[:16, :16], axis=-1).reshape(-1, 2).astype(float)
    label = median_blocks(xy, 16)
    assert (np.bincount(label) == 16).all()
    assert all(np.ptp(xy[label == i], axis=0).max() == 3 for i in range(16))  # squares of 4 x 4
    slope = xy @ np.array([[1.0], [0.5]])
    assert neighbour_likeness(xy, slope, label) > 0.5
    flat = np.random.default_rng(0).normal(size=(400, 256, 1))
    assert np.mean([neighbour_likeness(xy, f, label) for f in flat]) == pytest.approx(0, abs=0.04)
    assert spatial_blocks(xy[:15], slope[:15]).refused == "15 patches of one slide"
    assert isinstance(spatial_blocks(xy, flat[0]), Units)


def test_t_and_binomial():
    assert t_interval([1, 2, 3]) == pytest.approx((2, 2 - 4.30265 / np.sqrt(3), 2 + 4.30265 / np.sqrt(3)), rel=1e-5)
    assert np.isnan(t_interval([1])[1])
    low, high = binomial_interval(0, 50)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 50))  # in closed form for no hits
