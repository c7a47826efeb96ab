"""The map of the cross-scale error: block means, in whatever bands they come, and red where the error was planted."""

import itertools

import numpy as np
import pytest

from histogenesis.metrics.coherence.cross_scale import cross_scale_error
from histogenesis.metrics.coherence.error_map import ErrorMap


@pytest.mark.parametrize("bands", [[0, 70], [0, 7, 33, 64, 70], list(range(71))])
def test_means_over_blocks_do_not_depend_on_the_bands(bands):
    error = np.random.default_rng(1).random((70, 45, 3))
    found = ErrorMap(70, 45, long_side=24)
    for first, last in itertools.pairwise(bands):
        found.add(first, error[first:last])
    assert found.block_px == 3
    for y, x in ((0, 0), (11, 7), (23, 14)):  # the last row of blocks is cut off
        assert found.mean()[y, x] == pytest.approx(error[3 * y : 3 * y + 3, 3 * x : 3 * x + 3].mean())


def test_a_planted_error_is_red_and_the_rest_is_clear():
    coarse = np.full((40, 60, 3), 128, np.uint8)
    fine = np.full((80, 120, 3), 128, np.uint8)
    fine[20:40, 60:80] += 16
    found = ErrorMap(40, 60)
    errors = cross_scale_error(fine, coarse, None, found)
    assert errors["overall"].max == pytest.approx(16)
    alpha = np.asarray(found.picture())[..., 3]
    assert (alpha[10:20, 30:40] == 255).all()
    alpha = alpha.copy()
    alpha[10:20, 30:40] = 0
    assert not alpha.any()
