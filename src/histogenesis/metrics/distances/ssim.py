"""SSIM and the Bernoulli likelihood between generated and held-out images, over splits (Son 2023, section 3.1)."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import as_rgb
from histogenesis.metrics.distances.intervals import t_interval


def ssim(a, b) -> float:
    """Mean structural similarity of two uint8 images (h, w, 3), 11 px Gaussian window, sigma 1.5 (Wang et al. 2004).

    Son's eq. 18 in each window. Raises BadInput for images under 11 px.
    """
    if min(a.shape[:2]) < 11:
        raise BadInput(f"SSIM has windows of 11 px, and these images are {a.shape[0]} x {a.shape[1]} px")
    return float(
        structural_similarity(
            a, b, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def bernoulli_nll(generated, real) -> float:
    """Mean over pixels and channels, in nats, of -[y log p + (1 - y) log(1 - p)]; p generated, y real, in [0, 1].

    Son's eq. 19 per pixel (the paper's scale, a sum over batches, depends on its batch size). Logarithms are cut at -100,
    as torch's binary cross entropy does, so that a black pixel under a white one stays finite.
    """
    p, y = np.asarray(generated, np.float64) / 255, np.asarray(real, np.float64) / 255
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
    return float(-(y * logs[0] + (1 - y) * logs[1]).mean())


def paired_scores(real, generated, n_folds: int = 5, most: int = 1000, seed: int = 0) -> dict[str, dict]:
    """SSIM and likelihood of random pairs, a mean in each of `splits` disjoint parts of the held-out set.

    real, generated: uint8 (n, p, p, 3); `most` pairs in all. For each score: its value, Student's interval over the
    splits (low, high), and the splits' own means. Pairs are random, so SSIM is near 0 for any two different pictures: it
    ranks models only by what the interval allows.
    """
    real, generated = as_rgb(real), as_rgb(generated)
    if real.shape[1:] != generated.shape[1:]:
        raise BadInput(
            f"real patches are {real.shape[1:3]} px and generated ones {generated.shape[1:3]} px: SSIM needs one size"
        )
    n = min(len(real), len(generated), most)
    if n < 2 * n_folds:
        raise BadInput(
            f"{n} pairs cannot be split into {n_folds} parts of at least two: give more images or fewer splits"
        )
    rng = np.random.default_rng(seed)
    pairs = list(zip(rng.permutation(len(real))[:n], rng.permutation(len(generated))[:n]))
    scores: dict[str, list] = {"ssim": [], "likelihood": []}
    for part in np.array_split(np.arange(n), n_folds):
        scores["ssim"].append(np.mean([ssim(real[pairs[i][0]], generated[pairs[i][1]]) for i in part]))
        scores["likelihood"].append(np.mean([bernoulli_nll(generated[pairs[i][1]], real[pairs[i][0]]) for i in part]))
    out = {}
    for name, values in scores.items():
        mean, low, high = t_interval(values)
        out[name] = {"value": mean, "low": low, "high": high, "splits": [float(v) for v in values], "pairs": n}
    return out
