"""A fixed encoder without weights: statistics of stain, texture and colour in H&E space.

It needs no download and no training, knows nothing of the training set, and says in plain numbers what differs: stain
amounts, their spread, fineness of texture, noise. Colour is split into haematoxylin, eosin and a residual by Ruifrok and
Johnston's matrix (scikit-image's rgb2hed).
"""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2hed

from histogenesis.core.errors import BadInput

LEAST_PX = 16
LAGS = (1, 2, 4)


def stain_statistics(images: np.ndarray) -> np.ndarray:
    """uint8 (n, h, w, 3), at least 16 px -> float32 (n, 44), each of order 1 on H&E.

    Per channel of optical density: mean and spread (6), their correlations (3). Of haematoxylin and eosin each: five
    quantiles (10), log mean gradient at 1, 2, 4 px steps (6), autocorrelation at those steps (6), log noise
    energy (Laplacian; 2), and three quantiles of local spread in blocks of a quarter (6); saturation (2), and the
    residual stain's mean, spread and gradient (3). Turning or mirroring a patch changes none of them by more than rounding,
    except the blocks' where the size is no multiple of four.
    """
    if min(images.shape[1:3]) < LEAST_PX:
        raise BadInput(
            f"stain statistics need patches of at least {LEAST_PX} px, not {images.shape[1]} x {images.shape[2]} px"
        )
    return np.stack([_one(image) for image in images]) if len(images) else np.zeros((0, 44), np.float32)


def _one(image) -> np.ndarray:
    density = -np.log10((image.astype(np.float64) + 1) / 256)
    flat = density.reshape(-1, 3)
    spread = flat.std(axis=0)
    correlations = [
        ((flat[:, i] - flat[:, i].mean()) * (flat[:, j] - flat[:, j].mean())).mean() / (spread[i] * spread[j] + 1e-4)
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    stains = rgb2hed(image) * 10
    out = [*(4 * flat.mean(axis=0)), *(8 * spread), *correlations]
    for stain in (stains[..., 0], stains[..., 1]):
        out += [*(3 * np.quantile(stain, (0.05, 0.25, 0.5, 0.75, 0.95)))]
        gradients = [_gradient(stain, lag) for lag in LAGS]
        out += [np.log(g + 0.01) for g in gradients]
        out += [_autocorrelation(stain, lag) for lag in LAGS]
        laplacian = 4 * stain[1:-1, 1:-1] - stain[:-2, 1:-1] - stain[2:, 1:-1] - stain[1:-1, :-2] - stain[1:-1, 2:]
        out.append(np.log(np.abs(laplacian).mean() + 0.01))
        h, w = (n // 4 for n in stain.shape)
        blocks = stain[: 4 * h, : 4 * w].reshape(4, h, 4, w).std(axis=(1, 3))
        out += [*(2 * np.quantile(blocks, (0.1, 0.5, 0.9)))]
    saturation = (image.max(axis=-1).astype(np.float64) - image.min(axis=-1)) / 255
    out += [4 * saturation.mean(), 8 * saturation.std()]
    rest = stains[..., 2]
    out += [4 * rest.mean(), 8 * rest.std(), np.log(_gradient(rest, 1) + 0.01)]
    return np.array(out, np.float32)


def _gradient(x, lag) -> float:
    return float((np.abs(x[lag:] - x[:-lag]).mean() + np.abs(x[:, lag:] - x[:, :-lag]).mean()) / 2)


def _autocorrelation(x, lag) -> float:
    """Correlation of pixels `lag` apart, both ways; 0 for a flat patch."""
    x = x - x.mean()
    both = ((x[lag:] * x[:-lag]).mean() + (x[:, lag:] * x[:, :-lag]).mean()) / 2
    return float(both / ((x**2).mean() + 1e-4))
