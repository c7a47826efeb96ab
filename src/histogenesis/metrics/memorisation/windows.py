"""Windows of patches, and what they are compared by: small grey pictures, orientations, scales, whitened components.

Patches are averaged down to 32 px; a window is a quarter of one. Its description are its principal components, each divided by
its spread in the set that the window is of, so that a blurred or noisy set is no nearer to another than a sharp one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from histogenesis.metrics.memorisation.evidence import FINE

WORK_PX = 32  # patches are averaged down to this
COMPONENTS = 64  # that candidates are found by
PLAIN = 4.0  # grey levels of 255: a window with less spread in any of its quarters shows nothing that could be copied
FITTED = 20_000  # windows that the components are taken of
NOTHING = 1e-5  # of the first component's variance: less is rounding, and would be blown up by the division
SCALES = (0.72, 0.85, 1.18, 1.4)  # of what a generated patch shows, to the training patch


class Basis:
    """Principal components of upright windows, side x side px, and their spread in the set that they were taken of."""

    def __init__(self, pictures: np.ndarray, seed: int = 0):
        self.side = pictures.shape[1] // 2
        view = sliding_window_view(pictures, (self.side, self.side), axis=(1, 2))
        across, each = view.shape[1], view.shape[1] ** 2
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(pictures) * each, min(FITTED, len(pictures) * each), replace=False))
        some = view[rows // each, rows % each // across, rows % across]
        some = upright(some[~plain(some)]).reshape(-1, self.side**2)
        self.mean = some.mean(axis=0) if len(some) else np.zeros(self.side**2, np.float32)
        centred = some.astype(np.float64) - self.mean
        values, vectors = scipy.linalg.eigh(centred.T @ centred)
        values, vectors = values[::-1], vectors[:, ::-1]
        many = max(1, min(int((values > NOTHING * max(values[0], 1e-300)).sum()), FINE[-1]))
        self.components = np.ascontiguousarray(vectors[:, :many])
        self.coarse = np.ascontiguousarray(self.components[:, :COMPONENTS], np.float32)
        self.spread = self.spread_of(some)

    def project(self, windows: np.ndarray) -> np.ndarray:
        """Standardised windows (k, side^2) -> (k, 64) float32: the first components, quickly."""
        return (windows - self.mean) @ self.coarse

    def project_exactly(self, windows: np.ndarray) -> np.ndarray:
        """Standardised windows (..., side^2) -> (..., components) float64, summed in an order that threads do not change."""
        return np.einsum("...i,ic->...c", windows.astype(np.float64) - self.mean, self.components)

    def spread_of(self, windows: np.ndarray) -> np.ndarray:
        """Root mean square of each component over standardised windows (k, side^2)."""
        if not len(windows):
            return np.ones(self.components.shape[1])
        vectors = (windows.astype(np.float64) - self.mean) @ self.components
        return np.maximum(np.sqrt((vectors**2).mean(axis=0)), 1e-6)


def small_grey(images: np.ndarray) -> np.ndarray:
    """uint8 (n, p, p, 3) -> float32 (n, q, q) grey, q the smaller of p and 32, area-averaged."""
    return _sized(images, min(images.shape[1], WORK_PX))


def phases(images: np.ndarray) -> list[np.ndarray]:
    """The small grey pictures, and the same half a pixel of theirs down and to the right, one pixel smaller."""
    side = min(images.shape[1], WORK_PX)
    fine = _sized(images, 2 * side)
    inner = fine[:, 1:-1, 1:-1]
    return [p.reshape(len(p), n, 2, n, 2).mean(axis=(2, 4)) for p, n in ((fine, side), (inner, side - 1))]


def _sized(images, side):
    grey = images.mean(axis=3, dtype=np.float32)
    if grey.shape[1] == side:
        return grey
    if grey.shape[1] * 2 == side:
        return grey.repeat(2, axis=1).repeat(2, axis=2)
    how = Image.Resampling.BOX if grey.shape[1] > side else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(g).resize((side, side), how)) for g in grey])


def quarters(pictures: np.ndarray, side: int) -> np.ndarray:
    """(n, q, q) -> (n, 4, side, side): the four corners."""
    ends = slice(0, side), slice(pictures.shape[1] - side, None)
    return np.stack([pictures[:, a, b] for a in ends for b in ends], axis=1)


def scaled_quarters(pictures: np.ndarray, side: int, scale: float) -> np.ndarray | None:
    """The corners, as large as `side` px are after zooming by `scale`, brought to side px; None where they are too large.

    Smaller ones touch each other in the middle: there lies what was made smaller.
    """
    window = round(side * scale)
    if not 4 <= window <= pictures.shape[1]:
        return None
    edge = max(0, pictures.shape[1] // 2 - window)
    found = quarters(pictures[:, edge : pictures.shape[1] - edge, edge : pictures.shape[2] - edge], window)
    weights = _resampling(window, side)
    return np.einsum("ai,ncij,bj->ncab", weights, found, weights, optimize=True)


def _resampling(many: int, few: int) -> np.ndarray:
    """(few, many): linear interpolation, with a wider triangle where it makes smaller."""
    at = (np.arange(few) + 0.5) * many / few - 0.5
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(many)) / max(1.0, many / few))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def orientations(image: np.ndarray) -> Iterator[np.ndarray]:
    """The eight turns and mirrors of an image (h, w, ...)."""
    for turn in range(4):
        yield np.rot90(image, turn)
        yield np.rot90(image, turn)[:, ::-1]


def plain(windows: np.ndarray) -> np.ndarray:
    """(k, s, s) -> (k,): which show nothing that could be copied."""
    half = windows.shape[1] // 2
    parts = windows[:, : 2 * half, : 2 * half].reshape(len(windows), 2, half, 2, half)
    return parts.std(axis=(2, 4)).reshape(len(windows), 4).min(axis=1, initial=255) < PLAIN


def standard(windows: np.ndarray) -> np.ndarray:
    """Mean 0 and spread 1, each."""
    windows = windows - windows.mean(axis=(1, 2), keepdims=True)
    return windows / np.maximum(windows.std(axis=(1, 2), keepdims=True), 1e-6)


def upright(windows: np.ndarray) -> np.ndarray:
    """Standardised, turned and mirrored until the brighter side is below and to the right and the change from top to bottom
    the greater: one window stands for eight."""
    windows = standard(windows)
    ramp = (np.arange(windows.shape[1]) - (windows.shape[1] - 1) / 2).astype(np.float32)
    down, across = windows.sum(axis=2) @ ramp, windows.sum(axis=1) @ ramp
    flipped, mirrored, turned = down < 0, across < 0, np.abs(across) > np.abs(down)
    windows[flipped] = windows[flipped, ::-1]
    windows[mirrored] = windows[mirrored, :, ::-1]
    windows[turned] = windows[turned].transpose(0, 2, 1)
    return windows


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)).astype(np.float32)
