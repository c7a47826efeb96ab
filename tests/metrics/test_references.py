"""What numbers stand between: two halves of one population, and a scale whose ends are known."""

import numpy as np
import pytest

from histogenesis.evaluation.references import halves, scale


def test_halves_are_two_samples_of_the_pooled_population():
    """Two sets that share nothing: each half holds the share of either that a random draw gives, each image once."""
    one, other = halves(np.zeros(300, int), np.ones(100, int), seed=1)
    assert (len(one), len(other)) == (300, 100)
    assert one.sum() + other.sum() == 100
    spread = np.sqrt(100 * 0.25 * 0.75 * 300 / 399)  # hypergeometric: 100 draws of 400, of which 100 are ones
    assert abs(other.sum() - 25) < 4 * spread
    assert not np.array_equal(
        halves(np.arange(300), np.arange(100), 1)[1], halves(np.arange(300), np.arange(100), 2)[1]
    )


def test_the_scale_is_0_at_the_floor_and_1_at_noise():
    assert [scale(v, 2.0, 10.0) for v in (2.0, 10.0, 4.0)] == [0.0, 1.0, 0.25]
    assert scale(0.5, 0.9, 0.1) == pytest.approx(0.5)
    assert scale(1.0, 3.0, 3.0) is scale(None, 1.0, 2.0) is scale(1.0, float("nan"), 2.0) is None
