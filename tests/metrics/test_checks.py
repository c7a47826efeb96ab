"""Bad image sets and feature sets are named, and what can be repaired is."""

import numpy as np
import pytest

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import as_rgb, check_apart, check_features, check_pair

RNG = np.random.default_rng(1)
RGB = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)


def test_grey_and_alpha_become_rgb():
    grey = RGB[..., 0]
    clear = np.concatenate([RGB, np.zeros((8, 8, 1), np.uint8)], axis=-1)
    solid = np.concatenate([RGB, np.full((8, 8, 1), 255, np.uint8)], axis=-1)
    half = np.dstack([np.zeros((8, 8), np.uint8), np.full((8, 8), 51, np.uint8)])
    out = as_rgb([RGB, grey, grey[..., None], clear, solid, half])
    assert out.shape == (6, 8, 8, 3)
    assert out.dtype == np.uint8
    assert (out[1] == grey[..., None]).all()
    assert (out[2] == out[1]).all()
    assert (out[3] == 255).all()
    assert (out[4] == RGB).all()
    assert (out[5] == 204).all()  # black at a fifth of opacity, on white


def test_mixed_sizes_and_types():
    with pytest.raises(BadInput, match="2 sizes"):
        as_rgb([RGB, RGB[:4]])
    with pytest.raises(BadInput, match="8-bit"):
        as_rgb([RGB.astype(np.float32)])
    with pytest.raises(BadInput, match="shape"):
        as_rgb([np.zeros((8, 8, 5), np.uint8)])


def test_features():
    bad = np.ones((6, 3))
    bad[4, 1] = np.inf
    with pytest.raises(BadInput, match=r"1 of 6 images.*image 4"):
        check_features(bad)
    with pytest.raises(BadInput, match="shape"):
        check_features(np.ones(6))
    with pytest.raises(BadInput, match="same encoder"):
        check_pair(np.ones((6, 3)), np.ones((6, 4)))


def test_shared_patients():
    check_apart(["a", "b"], ["c"])
    with pytest.raises(BadInput, match=r"share 1 patients \(b\).*split.by: patient"):
        check_apart(["a", "b"], ["b", "c"])
