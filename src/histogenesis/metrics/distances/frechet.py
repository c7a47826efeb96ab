"""The Frechet distance between two Gaussians, and FID: of features, at several sample sizes, at infinite size.

The trace of sqrt(sigma1 sigma2) is the sum of the square roots of that product's eigenvalues, and these roots are the
singular values of F1 F2', where sigma1 = F1' F1 and sigma2 = F2' F2. The factors come from a pivoted Cholesky
decomposition, which reveals the rank, so that singular covariances need no jitter. Taking roots of eigenvalues instead
would turn rounding of 1e-16 in each null direction into 1e-8, and 2,000 of those are more than the 1e-6 promised here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import check_pair


def frechet_distance(mu1, sigma1, mu2, sigma2) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians: |mu1 - mu2|^2 + tr(s1 + s2 - 2 sqrt(s1 s2)).

    mu1, mu2: (d,); sigma1, sigma2: (d, d), symmetric and positive semi-definite, singular or not. Right to
    1e-6 max(1, value). Dowson and Landau 1982, eq. 16; Heusel et al. 2017, eq. 6. Raises BadInput for shapes that do not
    agree, numbers that are not finite, and matrices that are no covariance.
    """
    mu1, mu2 = _mean(mu1, "mu1"), _mean(mu2, "mu2")
    sigma1, sigma2 = _covariance(sigma1, mu1, "sigma1"), _covariance(sigma2, mu2, "sigma2")
    if mu1.shape != mu2.shape:
        raise BadInput(f"mu1 has {len(mu1)} dimensions and mu2 {len(mu2)}: both must come from the same encoder")
    return _distance(mu1, _factor(sigma1, "sigma1"), mu2, _factor(sigma2, "sigma2"))


def fid(real, generated) -> float:
    """Frechet distance of the Gaussians fitted to two feature sets, (n, d) and (m, d); biased upwards for small n, m."""
    real, generated = check_pair(real, generated)
    return _distance(*_gaussian(real), *_gaussian(generated))


def fid_warning(n: int, m: int, dimensions: int) -> str:
    """What is wrong with FID at these sizes, in words for the report; empty when nothing is."""
    if min(n, m) > dimensions:
        return ""
    return (
        f"FID from {min(n, m)} images in {dimensions} dimensions: the covariance is singular and the value says more about the"
        " number of images than about them. Trust KID, which is unbiased at any size, and compare with the floor of the"
        f" same size; for FID take more than {dimensions} images or an encoder with fewer dimensions"
    )


@dataclass(frozen=True)
class Extrapolation:
    """FID = infinite + slope / N, fitted to `fids` at `sizes`."""

    infinite: float
    slope: float
    sizes: list[int]
    fids: list[float]


def fid_infinity(real, generated, sizes: int = 8, repeats: int = 2, seed: int = 0) -> Extrapolation:
    """FID extrapolated to infinitely many images: FID is linear in 1/N to first order (Chong and Forsyth 2020).

    `sizes` sample sizes between a third of the images and all of them, each the mean of `repeats` random subsets without
    duplicates, drawn with the same size from both sets; a straight line in 1/N by least squares.
    """
    real, generated = check_pair(real, generated)
    rng = np.random.default_rng(seed)
    most = min(len(real), len(generated))
    least = max(3, most // 3)
    if most < 6:
        raise BadInput(f"{most} images are too few to extrapolate FID: give at least 6 of each kind")
    counts = np.unique(np.linspace(least, most, sizes).round().astype(int))
    values = []
    for count in counts:
        draws = 1 if count == len(real) == len(generated) else repeats
        values.append(np.mean([fid(_subset(real, count, rng), _subset(generated, count, rng)) for _ in range(draws)]))
    slope, infinite = np.polyfit(1 / counts, values, 1)
    return Extrapolation(float(infinite), float(slope), counts.tolist(), [float(v) for v in values])


def _subset(features, count, rng):
    return features[rng.choice(len(features), count, replace=False)]


def _gaussian(features):
    """Mean (d,) and a factor (r, d) whose square is the covariance (unbiased, n - 1)."""
    n, d = features.shape
    mu = features.mean(axis=0)
    centred = (features - mu) / np.sqrt(n - 1)
    return mu, centred if n <= d else _factor(centred.T @ centred, "the features' covariance")


def _distance(mu1, factor1, mu2, factor2) -> float:
    cross = np.linalg.svd(factor1 @ factor2.T, compute_uv=False).sum()
    value = ((mu1 - mu2) ** 2).sum() + (factor1**2).sum() + (factor2**2).sum() - 2 * cross
    return float(max(value, 0.0))


def _factor(sigma, name):
    """F (r, d) with F' F = sigma, r its numerical rank: Cholesky with complete pivoting (LAPACK pstrf)."""
    lower, pivots, rank, _ = lapack.dpstrf(sigma, lower=1)
    lower = np.tril(lower)[:, :rank]
    factor = np.empty_like(lower)
    factor[pivots - 1] = lower
    left = np.abs(np.diagonal(sigma) - (factor**2).sum(axis=1)).max()
    if left > 1e-4 * max(np.abs(sigma).max(), 1e-300):
        raise BadInput(f"{name} is not a covariance matrix: it has clearly negative eigenvalues")
    return factor.T


def _mean(mu, name):
    mu = np.atleast_1d(np.asarray(mu, dtype=np.float64))
    if mu.ndim != 1:
        raise BadInput(f"{name} must be a vector, and has shape {mu.shape}")
    if not np.isfinite(mu).all():
        raise BadInput(f"{name} holds NaN or infinity: look for the images whose features are not finite")
    return mu


def _covariance(sigma, mu, name):
    sigma = np.atleast_2d(np.asarray(sigma, dtype=np.float64))
    if sigma.shape != (len(mu), len(mu)):
        raise BadInput(f"{name} has shape {sigma.shape}, where its mean has {len(mu)} dimensions")
    if not np.isfinite(sigma).all():
        raise BadInput(f"{name} holds NaN or infinity: look for the images whose features are not finite")
    if np.abs(sigma - sigma.T).max() > 1e-5 * max(np.abs(sigma).max(), 1e-300):
        raise BadInput(f"{name} is not symmetric, so it is not a covariance matrix")
    return (sigma + sigma.T) / 2
