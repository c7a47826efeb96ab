"""Are pieces of training patches copied, wherever they lie? Windows of patches are looked for in all training patches.

An encoder compares whole patches, so a copy that is shifted by half a patch looks new to it. Here each patch is cut into its
four quarters: wherever the copy lies over the training patches, or across their borders, one quarter lies wholly within
one of them. Each quarter is correlated with every window of every training patch, turned and mirrored ones included.

What makes this fast: patches are averaged down to 32 px; a window is turned to a standard orientation (by where its
darkness lies), so that one comparison stands for eight; and it is described by its first 64 principal components.
What makes it fair: a component is divided by its spread in the set that the window is of, so that a blurred or noisy set
is no nearer to the training patches than a sharp one, as it would be in plain correlation; and a correlation counts for
as much as it has independent components: it is turned into the number of windows that would match so well by chance
(the a-contrario principle of Desolneux, Moisan and Morel 2000).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from skimage.feature import match_template

WORK_PX = 32  # patches are averaged down to this
COMPONENTS = 64
PLAIN = 4.0  # grey levels of 255: a window with less spread in any of its quarters shows nothing that could be copied
FITTED = 20_000  # windows that the components are taken of
BLOCK = 8192
CHUNK = 64  # patches whose windows are held at once


@dataclass(frozen=True)
class Match:
    """The best match of each patch, all (n,). surprise: -log10 of the number of matches as good that chance gives one patch
    (over 0: less than one); train: the training patch; quarter: which of the patch's matched, 0 to 3, row by row; plain:
    whether no quarter shows anything that could be copied."""

    surprise: np.ndarray
    train: np.ndarray
    quarter: np.ndarray
    plain: np.ndarray


class Windows:
    """All windows of the training patches, uint8 (n, p, p, 3), half a patch wide, ready for a search."""

    def __init__(self, images: np.ndarray, seed: int = 0):
        pictures = small_grey(images)
        self.side = pictures.shape[1] // 2
        view = sliding_window_view(pictures, (self.side, self.side), axis=(1, 2))
        across, each = view.shape[1], view.shape[1] ** 2
        rng = np.random.default_rng(seed)
        rows = np.sort(rng.choice(len(pictures) * each, min(FITTED, len(pictures) * each), replace=False))
        some, _ = _upright(view[rows // each, rows % each // across, rows % across])
        self.mean = some.mean(axis=0) if len(some) else np.zeros(self.side**2, np.float32)
        _, vectors = np.linalg.eigh((some - self.mean).T @ (some - self.mean))
        self.components = np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS])
        self.spread = self._spread(self._project(some))
        parts, patches = [np.zeros((0, self.components.shape[1]), np.float32)], [np.zeros(0, np.int64)]
        for start in range(0, len(pictures), CHUNK):
            upright, kept = _upright(view[start : start + CHUNK].reshape(-1, self.side, self.side))
            parts.append(_unit(self._project(upright) / self.spread))
            patches.append(start + kept // each)
        self.vectors, self.patch = np.concatenate(parts), np.concatenate(patches)

    def match(self, images: np.ndarray) -> Match:
        """The best match of each of the images, uint8 (m, p, p, 3), the same p as the training patches'."""
        n, quarters = len(images), _quarters(small_grey(images), self.side)
        upright, kept = _upright(quarters.reshape(4 * n, self.side, self.side))
        vectors = self._project(upright)
        vectors = _unit(vectors / self._spread(vectors))
        correlation, index = _nearest(vectors, self.vectors)
        evidence, train = np.zeros(4 * n), np.zeros(4 * n, np.int64)
        if len(self.vectors):
            free = np.minimum(_free(vectors), _free(self.vectors[index]))
            evidence[kept] = -free / 2 * np.log(1 - np.clip(correlation, 0, 0.9999).astype(np.float64) ** 2)
            train[kept] = self.patch[index]
        quarter = evidence.reshape(n, 4).argmax(axis=1)
        best = 4 * np.arange(n) + quarter
        surprise = (evidence[best] - np.log(4 * max(1, len(self.vectors)))) / np.log(10)
        plain = np.ones(4 * n, bool)
        plain[kept] = False
        return Match(surprise, train[best], quarter, plain.reshape(n, 4).all(axis=1))

    def _project(self, upright):
        return (upright - self.mean) @ self.components

    @staticmethod
    def _spread(vectors):
        return np.maximum(np.sqrt((vectors**2).mean(axis=0)), 1e-6) if len(vectors) else 1.0


def align(image: np.ndarray, train: np.ndarray, quarter: int) -> tuple[np.ndarray, float]:
    """The training patch, turned and shifted to lie as in `image`, white where it does not reach, and the plain correlation
    of the quarter that matched. Both uint8 (p, p, 3)."""
    p = image.shape[0]
    wanted = _quarters(small_grey(image[None]), small_grey(image[None]).shape[1] // 2)[0, quarter]
    best = (-2.0, 0, 0, train)
    for turned in _orientations(train):
        found = match_template(small_grey(turned[None])[0], wanted)
        y, x = np.unravel_index(found.argmax(), found.shape)
        best = max(best, (float(found[y, x]), int(y), int(x), turned), key=lambda b: b[0])
    correlation, y, x, turned = best
    q = small_grey(image[None]).shape[1]
    dy, dx = (round((q - q // 2) * side) for side in divmod(quarter, 2))
    dy, dx = (round((d - at) * p / q) for d, at in ((dy, y), (dx, x)))
    out = np.full_like(image, 255)
    out[max(0, dy) : p + min(0, dy), max(0, dx) : p + min(0, dx)] = turned[
        max(0, -dy) : p + min(0, -dy), max(0, -dx) : p + min(0, -dx)
    ]
    return out, correlation


def small_grey(images: np.ndarray) -> np.ndarray:
    """uint8 (n, p, p, 3) -> float32 (n, q, q) grey, q the smaller of p and 32, area-averaged."""
    grey = images.mean(axis=3, dtype=np.float32)
    if grey.shape[1] <= WORK_PX:
        return grey
    size = (WORK_PX, WORK_PX)
    return np.stack([np.asarray(Image.fromarray(g).resize(size, Image.Resampling.BOX)) for g in grey])


def _quarters(pictures, side):
    """(n, q, q) -> (n, 4, side, side): the four corners."""
    ends = slice(0, side), slice(pictures.shape[1] - side, None)
    return np.stack([pictures[:, a, b] for a in ends for b in ends], axis=1)


def _orientations(image) -> Iterator[np.ndarray]:
    for turn in range(4):
        yield np.rot90(image, turn)
        yield np.rot90(image, turn)[:, ::-1]


def _upright(windows):
    """Those windows (n, s, s) that are not plain, with mean 0 and spread 1, turned and mirrored until the brighter side is
    below and to the right and the change from top to bottom the greater: (k, s * s), and which they are, (k,)."""
    n, half = len(windows), windows.shape[1] // 2
    parts = windows[:, : 2 * half, : 2 * half].reshape(n, 2, half, 2, half)
    kept = np.flatnonzero(parts.std(axis=(2, 4)).reshape(n, 4).min(axis=1, initial=255) >= PLAIN)
    windows = windows[kept]
    windows = windows - windows.mean(axis=(1, 2), keepdims=True)
    windows /= windows.std(axis=(1, 2), keepdims=True)
    ramp = (np.arange(windows.shape[1]) - (windows.shape[1] - 1) / 2).astype(np.float32)
    down, across = windows.sum(axis=2) @ ramp, windows.sum(axis=1) @ ramp
    flipped, mirrored, turned = down < 0, across < 0, np.abs(across) > np.abs(down)
    windows[flipped] = windows[flipped, ::-1]
    windows[mirrored] = windows[mirrored, :, ::-1]
    windows[turned] = windows[turned].transpose(0, 2, 1)
    return windows.reshape(len(windows), windows.shape[1] ** 2), kept


def _unit(vectors):
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)).astype(np.float32)


def _free(vectors):
    """How many components a unit vector spreads over (participation ratio); low for a window that is simple."""
    return 1 / np.maximum((vectors.astype(np.float64) ** 4).sum(axis=1), 1e-12)


def _nearest(queries, vectors):
    """Greatest cosine of each query with any of the vectors, and which."""
    best, index = np.full(len(queries), -2, np.float32), np.zeros(len(queries), np.int64)
    for start in range(0, len(vectors), BLOCK):
        cosines = queries @ vectors[start : start + BLOCK].T
        found = cosines.argmax(axis=1)
        value = cosines[np.arange(len(queries)), found]
        better = value > best
        best[better], index[better] = value[better], found[better] + start
    return best, index
