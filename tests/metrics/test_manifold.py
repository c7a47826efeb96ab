"""Precision, recall, density, coverage against the authors' package and their published value."""

import tracemalloc

import numpy as np
import pytest

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.manifold import manifold
from histogenesis.metrics.distances.neighbours import nearest, squared_radii

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    ("n", "m", "d", "k", "shift"), [(200, 150, 6, 5, 0.5), (90, 210, 20, 3, 0.1), (64, 64, 2, 1, 3)]
)
def test_equals_prdc(n, m, d, k, shift):
    prdc = pytest.importorskip("prdc")
    real, generated = RNG.normal(size=(n, d)), RNG.normal(size=(m, d)) + shift
    theirs = prdc.compute_prdc(real, generated, k)
    assert manifold(real, generated, k, block=37) == pytest.approx(theirs, abs=1e-12)


def test_known_answers():
    line = np.arange(10.0)[:, None]
    assert manifold(line, line, 1) == {"precision": 1, "recall": 1, "density": 1, "coverage": 1}
    far = manifold(line, line + 1000, 1)
    assert set(far.values()) == {0}
    one = manifold(line, np.concatenate([np.full((9, 1), 4.1), [[4.2]]]), 1)  # collapsed on one real image
    assert one["precision"] == 1
    assert one["coverage"] < 0.25
    assert one["recall"] < 0.25


def test_nearest_is_exact_for_copies():
    x = RNG.normal(size=(500, 64)) + 100
    copies = x[[3, 77, 400]] + 1e-9
    distance, index = nearest(copies, x, block=2)
    assert index.tolist() == [3, 77, 400]
    np.testing.assert_allclose(distance, 8e-9, rtol=1e-4)
    own, _ = nearest(x, x, origin=np.arange(500))
    np.testing.assert_allclose(own**2, squared_radii(x, 1), rtol=1e-9)


def test_memory_is_bounded_by_the_block():
    x = RNG.normal(size=(6000, 8))
    tracemalloc.start()
    manifold(x, x + 0.1, 3, block=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # the whole matrix alone would be 288 MB


def test_too_few():
    with pytest.raises(BadInput, match="smaller k"):
        manifold(np.ones((5, 2)), np.ones((9, 2)), k=5)


@pytest.mark.slow
def test_published_value():
    """Naeem et al. 2020: two standard normal sets, n = 10,000, d = 1,000, k = 5 (their README).

    Tolerances are four standard deviations over seeds, which is large for n = 10,000: in 1,000 dimensions a few hubs decide.
    """
    rng = np.random.default_rng(0)
    found = manifold(*rng.normal(size=(2, 10000, 1000)), k=5)
    assert found["precision"] == pytest.approx(0.4772, abs=0.05)
    assert found["recall"] == pytest.approx(0.4705, abs=0.05)
    assert found["density"] == pytest.approx(1.0555, abs=0.22)
    assert found["coverage"] == pytest.approx(0.9735, abs=0.025)


def test_identical_sets_are_within_each_other_however_often_they_repeat():
    """Eight turned copies of each of 30 patches: neighbours are counted among the patches, not among the copies."""
    once = RNG.normal(size=(30, 6))
    eight = np.repeat(once, 8, axis=0)
    origin = np.repeat(np.arange(30), 8)
    same = manifold(eight, eight, 5)
    assert same["precision"] == same["recall"] == same["coverage"] == 1
    assert set(manifold(np.ones((20, 3)), np.ones((20, 3)), 5).values()) == {1, 4}  # all in every ball: density 20 / 5
    near = np.repeat(once + 0.01 * RNG.normal(size=once.shape), 8, axis=0) + 1e-4 * RNG.normal(size=eight.shape)
    assert manifold(eight, near, 5)["precision"] == 0  # what the copies' own distance would say
    grouped = manifold(eight, near, 5, real_origin=origin, generated_origin=origin)
    assert grouped["precision"] == grouped["recall"] == 1
    with pytest.raises(BadInput, match="repeats of one another"):
        manifold(eight[:16], eight, 10, real_origin=origin[:16])
