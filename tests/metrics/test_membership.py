"""Membership inference: AUC against scikit-learn's rule in closed form, an interval by patient, alarms where they belong."""

import numpy as np
import pytest
from scipy import stats

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.intervals import by_name
from histogenesis.metrics.memorisation.membership import auc, membership

SIGMAS = [0.2, 1.0]


def losses(seed, gap=0.0, patients=10, each=12, own=0.5):
    """Training and held-out losses (n, 2); patients differ by `own`, what was learned from is easier by `gap`."""
    rng = np.random.default_rng(seed)

    def side(less):
        ease = own * rng.normal(size=(patients, 1, 1)) + rng.normal(size=(patients, each, 2)) - less
        return (3 + ease).reshape(-1, 2), by_name(np.repeat(np.arange(patients), each))

    return side(gap), side(0)


def measured(seed, gap=0.0, **how):
    (train, ours), (held_out, theirs) = losses(seed, gap, **how)
    return membership(train, held_out, SIGMAS, ours, theirs, seed)


def test_auc_is_the_share_of_pairs():
    assert auc(np.array([2, 3.0]), np.array([1, 2.0])) == (1 + 0.5 + 1 + 1) / 4
    x = np.random.default_rng(0).normal(size=(2, 20_000))
    assert auc(x[0] + 0.5, x[1]) == pytest.approx(stats.norm.cdf(0.5 / np.sqrt(2)), abs=0.01)


def test_a_model_that_remembers_is_suspect_and_an_honest_one_is_not():
    found = measured(0, gap=1.5)
    assert found["verdict"] == "suspect" and found["low"] > 0.6
    assert all(one["auc"] > 0.7 for one in found["by_sigma"])
    assert "it remembers them" in found["sentence"]
    assert measured(1)["verdict"] == "clear"
    assert measured(1)["n_train"] == 120


def test_patients_who_are_harder_to_draw_are_no_alarm():
    """Honest models, 60 times, with patients that differ as much as patches do: "suspect" (one side of 95 %) in few."""
    verdicts = [measured(seed, own=1.0, each=6)["verdict"] for seed in range(60)]
    assert verdicts.count("suspect") <= 6


def test_two_patients_say_nothing():
    found = measured(0, gap=3, patients=2, each=15)
    assert found["verdict"] == "not measured" and found["low"] is None and found["auc"] > 0.8
    assert "no interval, 2 patients" in found["sentence"]


def test_bad_input():
    few = np.ones((5, 2))
    with pytest.raises(BadInput, match="at least 20"):
        membership(few, few, SIGMAS, by_name(range(5)), by_name(range(5)))
    broken = np.full((30, 2), np.nan)
    with pytest.raises(BadInput, match="not finite"):
        membership(broken, broken, SIGMAS, by_name(range(30)), by_name(range(30)))
