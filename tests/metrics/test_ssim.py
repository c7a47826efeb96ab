"""SSIM and the likelihood against other implementations and the formula."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.ssim import bernoulli_nll, paired_scores, ssim

RNG = np.random.default_rng(5)


def pictures(n, size=32):
    smooth = np.cumsum(RNG.normal(size=(n, size, size, 3)), axis=1)
    return (128 + 12 * smooth).clip(0, 255).astype(np.uint8)


def test_ssim():
    a, b = pictures(2)
    assert ssim(a, a) == 1
    grey = [
        structural_similarity(
            a[..., c], b[..., c], data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for c in range(3)
    ]
    assert ssim(a, b) == pytest.approx(np.mean(grey), abs=1e-12)
    direct = np.mean([by_definition(a[..., c].astype(float), b[..., c].astype(float)) for c in range(3)])
    assert ssim(a, b) == pytest.approx(direct, abs=1e-6)


def by_definition(x, y):
    """Son's eq. 18 in each Gaussian window that lies inside the picture."""

    def mean(v):
        return gaussian_filter(v, 1.5, truncate=3.5)[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def test_likelihood_is_binary_cross_entropy():
    a, b = pictures(2)
    a[0, 0] = (0, 255, 0)
    b[0, 0] = (255, 0, 7)  # certain and wrong: cut at 100 nats
    theirs = torch.nn.functional.binary_cross_entropy(torch.from_numpy(a / 255), torch.from_numpy(b / 255))
    assert bernoulli_nll(a, b) == pytest.approx(float(theirs), rel=1e-12)
    half = np.full((4, 4, 3), 127.5)
    assert bernoulli_nll(half, pictures(1, 4)[0]) == pytest.approx(np.log(2))


def test_splits():
    real, generated = pictures(60), pictures(50)
    found = paired_scores(real, generated, n_folds=5)
    for scores in found.values():
        assert len(scores["splits"]) == 5
        assert scores["pairs"] == 50
        assert scores["value"] == pytest.approx(np.mean(scores["splits"]))
        assert scores["low"] < scores["value"] < scores["high"]
    assert found == paired_scores(real, generated, n_folds=5)
    flat = np.full_like(generated, 128)
    assert paired_scores(real, flat)["likelihood"]["value"] == pytest.approx(np.log(2), abs=1e-3)


def test_bad_input():
    with pytest.raises(BadInput, match="one size"):
        paired_scores(pictures(20), pictures(20, 16))
    with pytest.raises(BadInput, match="fewer splits"):
        paired_scores(pictures(6), pictures(6))
    with pytest.raises(BadInput, match="11 px"):
        ssim(*pictures(2, 8))
