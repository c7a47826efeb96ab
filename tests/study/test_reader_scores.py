"""Scores of readers: the published numbers from the published counts, other packages' numbers, planted truths."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from histogenesis.study import weighted_mae
from histogenesis.study.agreement import agreement
from histogenesis.study.certainty import auc_of_reader, auc_of_readers, covariance
from histogenesis.study.power import cases_for, confines, detects, readers_power
from histogenesis.study.scores import resampled, share

LRDM = [(250, 179), (106, 145), (29, 99), (110, 162)]  # (TP, FP): Cechnicka et al., NeurIPS workshop 2023, table 1
URCDM = [(61, 66), (152, 6), (28, 33), (47, 10), (29, 21)]


@pytest.mark.parametrize("counts, printed", [(LRDM, 0.1074), (URCDM, 0.2219)])
def test_the_published_weighted_mae(counts, printed):
    assert weighted_mae(counts) == pytest.approx(printed, abs=5e-5)
    assert weighted_mae([*counts, (0, 0)]) == weighted_mae(counts), "one who rated nothing"


def test_the_published_shares_of_wrong_answers():
    wrong = [bad / (good + bad) for good, bad in LRDM + URCDM]
    assert np.round(wrong, 4).tolist() == [0.4172, 0.5777, 0.7734, 0.5956, 0.5197, 0.0380, 0.5410, 0.1754, 0.4200]


def test_weighted_mae_has_its_ends():
    assert weighted_mae([(10, 10), (50, 50)]) == 0
    assert weighted_mae([(10, 0), (0, 70)]) == 0.5
    with pytest.raises(ValueError, match="no ratings"):
        weighted_mae([(0, 0)])


@pytest.mark.parametrize("k, n, chance", [(25, 36, 0.5), (0, 7, 0.5), (7, 7, 0.25)])
def test_a_share_is_tested_exactly(k, n, chance):
    found = share(k, n, chance)
    assert found.p == pytest.approx(binomtest(k, n, chance).pvalue)
    if 0 < k < n:  # Clopper-Pearson: at each end of the interval what was found has a chance of 2.5 %
        assert binom.sf(k - 1, n, found.low) == pytest.approx(0.025, abs=1e-6)
        assert binom.cdf(k, n, found.high) == pytest.approx(0.025, abs=1e-6)


def test_intervals_know_what_varies():
    """Readers who differ widen the interval over readers, and pictures that differ the one over pictures."""
    differ = np.repeat([[1.0], [0.0], [1.0], [0.0]], 30, axis=1)
    by = {name: np.subtract(*resampled(differ, name)[::-1]) for name in ("reader", "case", "both")}
    assert by["reader"] > 0.5 and by["case"] == 0 and by["both"] > 0.5
    by = {name: np.subtract(*resampled(differ.T, name)[::-1]) for name in ("reader", "case")}
    assert by["case"] > 0.5 and by["reader"] == 0
    gaps = np.full((3, 4), np.nan)
    gaps[:, 0] = 1
    assert resampled(gaps, "reader") == (1, 1) and resampled(gaps[:1], "reader") == (None, None)


def test_the_interval_over_readers_covers():
    rng, inside = np.random.default_rng(3), 0
    for trial in range(150):
        own = np.clip(rng.normal(0.65, 0.1, 12), 0, 1)
        table = (rng.random((12, 40)) < own[:, None]).astype(float)
        low, high = resampled(table, "reader", trial, 400)
        inside += low <= 0.65 <= high
    assert 0.86 <= inside / 150 <= 0.99


# ------------------------------------------------------------------------------------------------ certainty


def test_auc_is_that_of_sklearn_with_ties():
    rng = np.random.default_rng(1)
    positive = rng.random(60) < 0.5
    rating = np.clip(np.rint(3.5 + positive + rng.normal(0, 1.5, 60)), 1, 6)
    assert auc_of_reader(rating, positive).value == pytest.approx(roc_auc_score(positive, rating))
    rating[3] = np.nan
    known = np.isfinite(rating)
    assert auc_of_reader(rating, positive).value == pytest.approx(roc_auc_score(positive[known], rating[known]))


def test_delong_is_close_to_the_bootstrap_of_cases():
    rng = np.random.default_rng(2)
    positive = np.arange(120) < 60
    shared = rng.normal(0, 1, 120)
    ratings = np.stack([positive * 1.0 + shared + rng.normal(0, 1, 120) for _ in range(2)])
    _, cov = covariance(ratings, positive)
    drawn = []
    for _ in range(1500):
        rows = np.concatenate([rng.integers(0, 60, 60), rng.integers(60, 120, 60)])
        drawn.append([roc_auc_score(positive[rows], rating[rows]) for rating in ratings])
    assert cov == pytest.approx(np.cov(np.array(drawn).T), rel=0.2)
    assert cov[0, 1] > 0.2 * cov[0, 0], "readers share the cases"


def test_the_interval_over_readers_and_cases_covers_and_that_over_cases_does_not():
    """Readers and cases at random, as Roe and Metz simulate them; the truth is that of the population of readers."""
    rng, trials, r, n = np.random.default_rng(5), 300, 5, 40
    skill, case, noise = 0.45, 0.8, 0.8
    positive = np.arange(2 * n) < n
    means = rng.normal(1.0, skill, 200_000)
    truth = norm.cdf(means / np.sqrt(2 * (case**2 + noise**2))).mean()
    inside = alone = 0
    for _ in range(trials):
        own, shared = rng.normal(1.0, skill, r), rng.normal(0, case, 2 * n)
        ratings = own[:, None] * positive + shared + rng.normal(0, noise, (r, 2 * n))
        found = auc_of_readers(ratings, positive)
        inside += found.low <= truth <= found.high
        values, cov = covariance(ratings, positive)
        half = 1.96 * cov.mean() ** 0.5
        alone += abs(values.mean() - truth) <= half
    assert 0.91 <= inside / trials <= 0.99
    assert alone < inside - 0.02 * trials, "an interval over cases alone is too short for other readers"


def test_one_who_sees_everything_and_one_who_guesses():
    positive = np.arange(40) < 20
    assert auc_of_reader(np.where(positive, 6.0, 1.0), positive).value == 1
    p = [auc_of_reader(np.random.default_rng(k).integers(1, 7, 40).astype(float), positive).p for k in range(200)]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.1
    assert auc_of_reader(np.full(40, np.nan), positive).value is None


# ------------------------------------------------------------------------------------------------ agreement


def test_fleiss_kappa_of_fleiss_1971_as_often_printed():
    """Fourteen raters, ten subjects, five categories: kappa 0.210."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    answers = np.array([[str(q) for q, n in enumerate(row) for _ in range(n)] for row in table], object).T
    assert agreement(answers, list("01234"))["fleiss_kappa"] == pytest.approx(0.210, abs=5e-4)


def test_gwet_with_gaps_as_in_his_handbook():
    """Four raters, twelve subjects, gaps (raw4raters of his irrCAC; Gwet 2014): kappa 0.76117, AC1 0.77544."""
    rows = ["11.1", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", ".555", "..11", "..3."]
    answers = np.array([[None if mark == "." else mark for mark in row] for row in rows], object).T
    found = agreement(answers, list("12345"))
    assert found["fleiss_kappa"] == pytest.approx(0.76117, abs=5e-6)
    assert found["gwet_ac1"] == pytest.approx(0.77544, abs=5e-6)


def test_agreement_has_its_ends():
    same = np.array([["a", "b", "a", "b"]] * 3, object)
    assert agreement(same, ["a", "b"]) == {"observed": 1, "fleiss_kappa": 1, "gwet_ac1": 1}
    rng = np.random.default_rng(1)
    guess = agreement(rng.choice(["a", "b"], (6, 800)).astype(object), ["a", "b"])
    assert abs(guess["fleiss_kappa"]) < 0.05 and abs(guess["gwet_ac1"]) < 0.05
    rare = np.full((2, 100), "a", object)
    rare[0, :3] = rare[1, 3:6] = "b"
    found = agreement(rare, ["a", "b"])
    assert found["fleiss_kappa"] < 0.05 and found["gwet_ac1"] > 0.9, "nearly all say a: kappa's paradox"
    rng = np.random.default_rng(2)
    first, second = rng.choice(["a", "b"], (2, 5000), p=[0.5, 0.5])
    second = np.where(rng.random(5000) < 0.6, first, second)
    both = agreement(np.array([first, second], object), ["a", "b"])
    assert both["fleiss_kappa"] == pytest.approx(cohen_kappa_score(first, second), abs=2e-3)


# ------------------------------------------------------------------------------------------------ power


@pytest.mark.parametrize("n, accuracy", [(20, 0.8), (41, 0.7), (120, 0.6)])
def test_power_is_how_often_the_test_rejects(n, accuracy):
    k = np.random.default_rng(1).binomial(n, accuracy, 4000)
    p = np.array([binomtest(int(one), n, 0.5).pvalue for one in range(n + 1)])
    assert detects(n, accuracy) == pytest.approx((p[k] <= 0.05).mean(), abs=0.025)


def test_cases_for_a_power_are_the_fewest_that_keep_it():
    n = cases_for(0.8, lambda m: detects(m, 0.65))
    assert all(detects(m, 0.65) >= 0.8 for m in range(n, n + 10))
    assert min(detects(m, 0.65) for m in range(n - 1, n + 9)) < 0.8
    assert n == pytest.approx((norm.ppf(0.975) * 0.5 + norm.ppf(0.8) * 0.477) ** 2 / 0.15**2, rel=0.15), (
        "the normal law's"
    )
    assert cases_for(0.8, lambda m: 0.0) is None


def test_hardly_told_apart_wants_many_more_cases():
    n = cases_for(0.8, lambda m: confines(m, 0.1))
    assert n == pytest.approx((norm.ppf(0.95) + norm.ppf(0.9)) ** 2 * 0.25 / 0.1**2, rel=0.15)
    k = np.arange(n + 1)
    shown = [
        one for one in k if all(abs(end - 0.5) < 0.1 for end in binomtest(int(one), n).proportion_ci(0.9, "exact"))
    ]
    assert confines(n, 0.1) == pytest.approx(binom.pmf(shown, n, 0.5).sum())


def test_more_readers_help_and_readers_who_differ_do_not():
    assert readers_power(30, 5, 0.65, 0.05) > readers_power(30, 3, 0.65, 0.05) + 0.1
    assert readers_power(30, 5, 0.65, 0.2) < readers_power(30, 5, 0.65, 0.02) - 0.1
    assert readers_power(400, 5, 0.5, 0.1) == pytest.approx(0.05, abs=0.02), (
        "readers who guess on average are seldom found out"
    )
