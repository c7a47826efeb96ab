"""Are pieces of training patches copied, wherever they lie? Windows of patches are looked for in *all* training patches.

An encoder compares whole patches, so a copy that is shifted by half a patch looks new to it. Here each patch is cut into its
four quarters: wherever the copy lies over the training patches, or across their borders, one quarter lies wholly within
one of them. Each quarter is compared with every window of every training patch, turned and mirrored ones included: as it is,
half a pixel further, and at four other scales.

Training patches stream by in blocks, so that memory does not grow with their number; each query keeps its best few windows
by the first 64 components. These are judged by more components, in double precision and in an order of operations that no
number of threads changes. A correlation counts for as much as it has independent components: it is turned into the number of
windows that would match so well by chance (the a-contrario principle of Desolneux, Moisan and Morel 2000).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from skimage.feature import match_template

from histogenesis.metrics.memorisation import windows as w

CANDIDATES = 3  # windows that each query keeps, and each chunk may add one
JUDGED = 32  # pairs of each patch that are judged by all components
CHUNK = 32  # training patches whose windows are held at once
QUERIES = 4096  # queries at once


@dataclass(frozen=True)
class Match:
    """The best match of each patch, all (n,). surprise: -log10 of the number of matches as good that chance gives one patch
    (over 0: less than one); train: the training patch; quarter: which of the patch's matched, 0 to 3, row by row; scale: of
    what the patch shows to the training patch; plain: whether no quarter shows anything that could be copied."""

    surprise: np.ndarray
    train: np.ndarray
    quarter: np.ndarray
    plain: np.ndarray
    scale: np.ndarray

    def take(self, rows) -> Match:
        return Match(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


class Queries:
    """All that is looked for of some patches, uint8 (n, p, p, 3), and the best that was found so far."""

    def __init__(self, basis: w.Basis, images: np.ndarray, like: Queries | None = None):
        """like: another set whose spread of components is taken (a few patches have none of their own)."""
        self.n, side = len(images), basis.side
        even, odd = w.phases(images)
        parts, patch, quarter, scale = [], [], [], []
        corners = np.tile(np.arange(4), self.n)
        owners = np.arange(self.n).repeat(4)
        shown = np.zeros(4 * self.n, bool)

        def add(found, size):
            found = found.reshape(4 * self.n, side, side)
            kept = ~w.plain(found)
            if size == 1:
                shown[kept] = True
            parts.append(w.upright(found[kept]).reshape(-1, side**2))
            patch.append(owners[kept])
            quarter.append(corners[kept])
            scale.append(np.full(kept.sum(), size))

        add(w.quarters(even, side), 1)
        add(w.quarters(odd, side), 1)
        for size in w.SCALES:
            found = w.scaled_quarters(even, side, size)
            if found is not None:
                add(found, size)
        own = w.upright(w.quarters(even, side).reshape(-1, side, side)[shown]).reshape(-1, side**2)
        self.spread = like.spread if like is not None else basis.spread_of(own)
        self.windows = np.concatenate(parts).astype(np.float32)
        self.coarse = w.unit(basis.project(self.windows) / self.spread[: w.COMPONENTS])
        self.patch, self.quarter, self.scale = (np.concatenate(v) for v in (patch, quarter, scale))
        self.plain = ~shown.reshape(self.n, 4).any(axis=1)
        many = len(self.patch)
        self.cosine = np.full((many, CANDIDATES), -2, np.float32)
        self.train = np.full((many, CANDIDATES), -1, np.int64)
        self.found = np.zeros((many, CANDIDATES, side**2), np.float32)

    def look(self, coarse: np.ndarray, windows: np.ndarray, train: np.ndarray) -> None:
        """Keep the best of these windows (m, side^2): coarse (m, 64), of unit length; train (m,) whose they are."""
        for start in range(0, len(self.coarse), QUERIES):
            rows = slice(start, start + QUERIES)
            cosines = self.coarse[rows] @ coarse.T
            best = cosines.argmax(axis=1)
            value = cosines[np.arange(len(best)), best]
            worst = self.cosine[rows].argmin(axis=1)
            at = np.flatnonzero(value > self.cosine[rows][np.arange(len(best)), worst])
            self.cosine[start + at, worst[at]] = value[at]
            self.train[start + at, worst[at]] = train[best[at]]
            self.found[start + at, worst[at]] = windows[best[at]]


class Search:
    """Looks for pieces of patches in training patches. sample: training patches that the components are taken of."""

    def __init__(self, sample: np.ndarray, seed: int = 0):
        self.basis = w.Basis(w.small_grey(sample), seed)

    def queries(self, images: np.ndarray, like: Queries | None = None) -> Queries:
        return Queries(self.basis, images, like)

    def match(self, blocks: Iterable[tuple[int, np.ndarray]], sets: list[Queries]) -> list[Match]:
        """The best match of each patch of each set. blocks: (number of the first, uint8 (m, p, p, 3)), all there are."""
        windows = 0
        for first, images in blocks:
            for start in range(0, len(images), CHUNK):
                windows += self._chunk(first + start, images[start : start + CHUNK], sets)
        return [self._judged(queries, windows) for queries in sets]

    def _chunk(self, first, images, sets) -> int:
        side = self.basis.side
        view = sliding_window_view(w.small_grey(images), (side, side), axis=(1, 2))
        each = view.shape[1] ** 2
        found = view.reshape(-1, side, side)
        kept = np.flatnonzero(~w.plain(found))
        if len(kept):
            upright = w.upright(found[kept]).reshape(len(kept), -1)
            coarse = w.unit(self.basis.project(upright) / self.basis.spread[: w.COMPONENTS])
            for queries in sets:
                queries.look(coarse, upright, first + kept // each)
        return len(kept)

    def _judged(self, queries: Queries, windows: int) -> Match:
        """The pairs of each patch that look best by the quick components, judged by all of them."""
        query, candidate = np.nonzero(queries.train >= 0)
        patch = queries.patch[query]
        order = np.lexsort((-queries.cosine[query, candidate], patch))
        rank = np.arange(len(order)) - np.searchsorted(patch[order], patch[order])
        query, candidate = (v[order[rank < JUDGED]] for v in (query, candidate))
        a = self.basis.project_exactly(queries.windows[query]) / queries.spread
        b = self.basis.project_exactly(queries.found[query, candidate]) / self.basis.spread
        value, train, quarter = _evidence(a, b), queries.train[query, candidate], queries.quarter[query]
        order = np.lexsort((-quarter, -train, value))  # the greatest last; of equal ones the first training patch
        out = {"value": np.zeros(queries.n), "train": np.zeros(queries.n, np.int64)}
        out |= {"quarter": np.zeros(queries.n, np.int64), "scale": np.ones(queries.n)}
        for name, v in (("value", value), ("train", train), ("quarter", quarter), ("scale", queries.scale[query])):
            out[name][queries.patch[query][order]] = v[order]
        tests = len(w.FINE) * max(1, windows) * max(1, len(queries.patch)) / max(1, queries.n)
        surprise = (out["value"] - np.log(tests)) / np.log(10)
        return Match(surprise, out["train"], out["quarter"], queries.plain, out["scale"])


def _evidence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """-log of how often chance correlates whitened vectors (..., d) so well, the best of the first 64, 128 and 200
    components, to three digits. As many components count as a vector spreads over (its participation ratio)."""
    best = np.zeros(np.broadcast_shapes(a.shape, b.shape)[:-1])
    for many in w.FINE:
        x, y = (v[..., :many].astype(np.float64) for v in (a, b))
        xx, yy, xy = (x**2).sum(axis=-1), (y**2).sum(axis=-1), (x * y).sum(axis=-1)
        cosine = np.clip(xy / np.maximum(np.sqrt(xx * yy), 1e-12), 0, 0.9999)
        free = np.minimum(*(s**2 / np.maximum((v**4).sum(axis=-1), 1e-300) for v, s in ((x, xx), (y, yy))))
        best = np.maximum(best, -free / 2 * np.log(1 - cosine**2))
    return np.round(best, 3)


def align(image: np.ndarray, train: np.ndarray, quarter: int) -> tuple[np.ndarray, float]:
    """The training patch, turned and shifted to lie as in `image`, white where it does not reach, and the plain correlation
    of the quarter that matched. Both uint8 (p, p, 3)."""
    p = image.shape[0]
    small = w.small_grey(image[None])
    wanted = w.quarters(small, small.shape[1] // 2)[0, quarter]
    best = (-2.0, 0, 0, train)
    for turned in w.orientations(train):
        found = match_template(w.small_grey(turned[None])[0], wanted)
        y, x = np.unravel_index(found.argmax(), found.shape)
        best = max(best, (float(found[y, x]), int(y), int(x), turned), key=lambda b: b[0])
    correlation, y, x, turned = best
    q = small.shape[1]
    dy, dx = (round((q - q // 2) * side) for side in divmod(quarter, 2))
    dy, dx = (round((d - at) * p / q) for d, at in ((dy, y), (dx, x)))
    out = np.full_like(image, 255)
    out[max(0, dy) : p + min(0, dy), max(0, dx) : p + min(0, dx)] = turned[
        max(0, -dy) : p + min(0, -dy), max(0, -dx) : p + min(0, -dx)
    ]
    return out, correlation
