"""The classifier two-sample test: half where nothing differs, all where something does, and no credit for knowing a patient."""

import numpy as np
import pytest

from histogenesis.metrics.classifier import c2st, logistic, small_network

RNG = np.random.default_rng(4)


def test_logistic_on_gaussians_reaches_the_bayes_accuracy():
    """Means 2 apart along one axis: Phi(1) = 0.841 of either are on their side."""
    a, b = RNG.normal(size=(600, 5)), RNG.normal(size=(600, 5))
    assert c2st(a, b, np.arange(600), np.arange(600), logistic).accuracy == pytest.approx(0.5, abs=0.05)
    b[:, 0] += 2
    found = c2st(a, b, np.arange(600), np.arange(600), logistic)
    assert found.accuracy == pytest.approx(0.841, abs=0.04)
    assert found.by_group
    assert c2st(a[:150], b, np.arange(150), np.arange(600), logistic).accuracy == pytest.approx(0.841, abs=0.06)


def test_both_sets_count_the_same_however_many_rows_they_have():
    """All of the first set are told and a quarter of the second: (1 + 1/4) / 2, whether that has half as many rows or twice."""

    def classify(x, y, test, seed):
        return test[:, 0]

    for many in (60, 240):
        second = np.repeat([0.9, 0.1], [many // 4, many - many // 4])[:, None]
        found = c2st(np.full((120, 1), 0.1), second, np.arange(120), np.arange(many), classify)
        assert found.accuracy == pytest.approx(0.625)


def test_a_patient_that_was_not_seen_cannot_be_recognised():
    """Every patient has a colour of his own. By row a classifier learns who is who; by patient there is nothing to learn."""
    patients = np.repeat(np.arange(40), 20)
    own = RNG.normal(size=(40, 30))
    x = own[patients] + 0.1 * RNG.normal(size=(800, 30))
    first, second = patients < 20, patients >= 20
    by_row = c2st(x[first], x[second], np.arange(400), np.arange(400), logistic, seed=1)
    by_patient = c2st(x[first], x[second], patients[first], patients[second], logistic, seed=1)
    assert by_row.accuracy > 0.9
    assert by_patient.accuracy < 0.7
    assert by_patient.of_groups(patients[first], patients[second]).shape == (40,)
    one = c2st(x[first], x[patients == 20], patients[first], patients[patients == 20], logistic)
    assert not one.by_group


def test_the_small_network_sees_structure_that_colours_do_not_tell():
    """Discs against the same pixels shuffled: every image of both has the same colours."""

    def discs(n, seed):
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:32, :32]
        middles = rng.uniform(8, 24, (n, 2, 1, 1))
        return np.where((y - middles[:, 0]) ** 2 + (x - middles[:, 1]) ** 2 < 49, 90, 210)[..., None].repeat(3, -1)

    a, b = (discs(60, seed).astype(np.uint8) for seed in (0, 1))
    shuffled = RNG.permuted(b.reshape(60, -1, 3), axis=1).reshape(b.shape)
    classify = small_network(60)
    ids = np.arange(60) // 4
    told = c2st(a, shuffled, ids, ids, classify)
    assert told.accuracy > 0.9
    assert c2st(a, b, ids, ids, classify).accuracy < 0.7
    np.testing.assert_array_equal(told.first, c2st(a, shuffled, ids, ids, classify).first)
