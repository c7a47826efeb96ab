"""One tolerance of mpp: what scanners state about "20x" is 0.5, and no more than that is."""

import numpy as np
import pytest

from histogenesis.core.geometry import is_finer, same_mpp, served_mpp


@pytest.mark.parametrize("own", [0.4990, 0.5, 0.5015, 0.5040])
def test_what_scanners_call_20x_serves_half_a_micrometre(own):
    assert served_mpp(0.5, own) == own and not is_finer(0.5, own)


def test_beyond_the_tolerance_an_mpp_is_itself_or_finer():
    assert served_mpp(0.5, 0.48) == 0.5  # resampled, exactly
    assert is_finer(0.5, 0.5160) and not is_finer(0.5, 0.5150)
    assert same_mpp(0.5, 0.4855) and not same_mpp(0.5, 0.4850)


def test_arrays_and_an_unknown_mpp():
    assert served_mpp(np.array([0.5, 1.0, 0.52]), 0.51).tolist() == [0.51, 1.0, 0.51]
    assert np.isnan(served_mpp(np.nan, 0.5)) and not is_finer(np.nan, 0.5) and not same_mpp(np.nan, np.nan)


def test_lengths_and_areas_are_each_others_inverse_and_known_at_one_micrometre():
    from histogenesis.core import geometry

    assert geometry.mm_of(2000, 0.5) == 1 and geometry.px_of_mm(1, 0.5) == 2000
    assert geometry.mm2_of(4_000_000, 0.5) == 1 and geometry.px_of_mm2(1, 0.5) == 4_000_000
    assert geometry.um2_of(8, 0.5) == 2 and geometry.per_cm(0.5) == 20_000 and geometry.magnification(0.25) == 40
