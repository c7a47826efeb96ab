"""The Frechet distance against closed forms, sqrtm, multiple precision and torchmetrics."""

import subprocess
import sys

import mpmath
import numpy as np
import pytest
import scipy.linalg
import torch

import histogenesis.metrics
from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.frechet import fid, fid_infinity, fid_warning, frechet_distance, infinity_warning

RNG = np.random.default_rng(7)


def rotated(values, rng):
    """A covariance with the given eigenvalues, and random eigenvectors."""
    q = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    sigma = (q * values) @ q.T
    return (sigma + sigma.T) / 2, q


def close(found, expected):
    assert abs(found - expected) <= 1e-6 * max(1, abs(expected)), (found, expected)


def test_closed_forms():
    close(frechet_distance(1.0, 4.0, 4.0, 9.0), 9 + 1)  # (m1 - m2)^2 + (s1 - s2)^2 in one dimension
    a, b = RNG.uniform(0, 5, 30), RNG.uniform(0, 5, 30)
    close(frechet_distance(np.zeros(30), np.diag(a), np.ones(30), np.diag(b)), 30 + ((a**0.5 - b**0.5) ** 2).sum())
    sigma, q = rotated(a, RNG)
    other = (q * b) @ q.T  # the same eigenvectors: the matrices commute
    close(frechet_distance(np.zeros(30), sigma, np.zeros(30), (other + other.T) / 2), ((a**0.5 - b**0.5) ** 2).sum())
    close(frechet_distance(a, sigma, a, sigma), 0)


def test_agrees_with_sqrtm_where_it_is_regular():
    x, y = RNG.normal(size=(400, 60)) @ RNG.normal(size=(60, 60)), RNG.normal(size=(500, 60))
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * scipy.linalg.sqrtm(s1 @ s2).real)
    close(frechet_distance(x.mean(0), s1, y.mean(0), s2), expected)
    close(fid(x, y), expected)


@pytest.mark.parametrize(("d", "n", "scale"), [(300, 40, 1.0), (300, 40, 30.0), (300, 290, 1.0), (600, 100, 5.0)])
def test_singular_covariances(d, n, scale):
    """Truth from the images' own side: the nuclear norm of X Y' (n x n) needs no root of a null eigenvalue."""
    x, y = scale * RNG.normal(size=(n, d)), scale * RNG.normal(size=(n + 7, d)) + 1
    a, b = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (x, y))
    truth = (a**2).sum() + (b**2).sum() - 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()
    truth += ((x.mean(0) - y.mean(0)) ** 2).sum()
    close(frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)), truth)
    close(fid(x, y), truth)
    close(frechet_distance(x.mean(0), np.cov(x, rowvar=False), x.mean(0), np.cov(x, rowvar=False)), 0)


def test_singular_in_multiple_precision():
    """Two rank-2 covariances of integers in 5 dimensions, against 60 digits."""
    a, b = RNG.integers(-9, 9, (5, 2)), RNG.integers(-9, 9, (5, 2))
    with mpmath.workdps(60):
        product = mpmath.matrix((b.T @ a @ a.T @ b).tolist())  # has the non-zero eigenvalues of s1 s2
        roots = sum(mpmath.sqrt(v) for v in mpmath.eig(product, left=False, right=False))
        truth = float((np.trace(a @ a.T) + np.trace(b @ b.T) - 2 * roots).real)
    close(frechet_distance(np.zeros(5), a @ a.T, np.zeros(5), b @ b.T), truth)


def test_no_covariance_at_all_and_wide_spectra():
    zero = np.zeros((6, 6))
    close(frechet_distance(np.zeros(6), zero, np.ones(6), zero), 6)
    close(frechet_distance(np.zeros(6), zero, np.zeros(6), np.eye(6)), 6)
    rng = np.random.default_rng(1)
    a, b = 10.0 ** rng.uniform(-14, 2, 200), 10.0 ** rng.uniform(-14, 2, 200)
    sigma, q = rotated(a, rng)
    other = (q * b) @ q.T
    close(frechet_distance(a, sigma, a, (other + other.T) / 2), ((a**0.5 - b**0.5) ** 2).sum())


def test_is_the_distance_of_the_square_root_coupling():
    """Symmetric, zero only for equals, and the optimal map of Gaussians attains it."""
    s1, _ = rotated(RNG.uniform(0.5, 3, 8), RNG)
    s2, _ = rotated(RNG.uniform(0.5, 3, 8), RNG)
    m = np.zeros(8)
    assert frechet_distance(m, s1, m, s2) == pytest.approx(frechet_distance(m, s2, m, s1), abs=1e-10)
    root = scipy.linalg.sqrtm(s1)
    transport = np.linalg.inv(root) @ scipy.linalg.sqrtm(root @ s2 @ root) @ np.linalg.inv(root)
    moved = transport - np.eye(8)
    close(frechet_distance(m, s1, m, s2), np.trace(moved @ s1 @ moved.T).real)


def test_bad_moments_are_named():
    eye = np.eye(3)
    with pytest.raises(BadInput, match="NaN"):
        frechet_distance([0, 0, np.nan], eye, [0, 0, 0], eye)
    with pytest.raises(BadInput, match="shape"):
        frechet_distance([0, 0], eye, [0, 0, 0], eye)
    with pytest.raises(BadInput, match="same encoder"):
        frechet_distance([0, 0], np.eye(2), [0, 0, 0], eye)
    with pytest.raises(BadInput, match="negative eigenvalues"):
        frechet_distance([0, 0], [[1, 2], [2, 1]], [0, 0], np.eye(2))
    with pytest.raises(BadInput, match="symmetric"):
        frechet_distance([0, 0], [[1, 0.5], [0, 1]], [0, 0], np.eye(2))


def test_public_name_is_lazy():
    assert histogenesis.metrics.frechet_distance is frechet_distance
    code = "import sys, histogenesis.metrics.coherence.seams; print('histogenesis.metrics.distances.frechet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
    with pytest.raises(AttributeError):
        _ = histogenesis.metrics.no_such_name


def test_fid_equals_torchmetrics():
    image = pytest.importorskip("torchmetrics.image.fid")

    class Pixels(torch.nn.Module):
        num_features = 48

        def forward(self, x):
            return x.double().flatten(1)[:, :48] / 255

    metric = image.FrechetInceptionDistance(Pixels(), input_img_size=(3, 4, 4)).set_dtype(torch.float64)
    images = [torch.from_numpy(RNG.integers(low, 256, (120, 3, 4, 4), dtype=np.uint8)) for low in (0, 40)]
    metric.update(images[0], real=True)
    metric.update(images[1], real=False)
    ours = fid(*(i.numpy().reshape(120, -1) / 255 for i in images))
    assert ours == pytest.approx(float(metric.compute()), abs=1e-4)


def test_warns_below_the_dimension():
    assert fid_warning(5000, 5000, 2048) == ""
    assert "KID" in fid_warning(500, 5000, 2048)


def test_extrapolation_removes_the_bias_of_small_sets():
    """Two standard normal sets have FID 0; the estimate at n = 600 is far above, the extrapolated one is not."""
    raw, far = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(600, 40)), rng.normal(size=(600, 40))
        raw.append(fid(a, b))
        found = fid_infinity(a, b, seed=seed)
        far.append(found.infinite)
        assert found.slope > 0
        assert found.fids[0] > found.fids[-1]
        assert found.sizes[-1] == 600
    assert np.mean(raw) > 1
    assert abs(np.mean(far)) < 0.1 * np.mean(raw)
    with pytest.raises(BadInput, match="too few"):
        fid_infinity(np.eye(4), np.eye(4))


def test_extrapolation_with_hardly_more_images_than_dimensions():
    """n = 500, d = 256: FID is 14 times what it should be; the closed form is met to 5 % of that bias, or it is refused."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(500, 256)), 1.1 * (rng.normal(size=(500, 256)) + 0.1)
    truth = frechet_distance(np.zeros(256), np.eye(256), np.full(256, 0.11), 1.21 * np.eye(256))
    found = fid_infinity(a, b)
    assert found.fids[1] > 10 * truth
    assert abs(found.infinite - truth) < 0.05 * (found.fids[1] - truth)
    assert "up to 5 %" in infinity_warning(500, 500, 256)
    assert infinity_warning(5000, 5000, 256) == ""
    with pytest.raises(BadInput, match="at least 384 of each"):
        fid_infinity(a[:380], b)
