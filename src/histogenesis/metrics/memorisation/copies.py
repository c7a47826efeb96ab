"""Are pieces of training patches copied, wherever they lie? Windows of patches are looked for in *all* training patches.

An encoder compares whole patches, so a copy that is shifted by half a patch looks new to it. Here each patch is cut into its
four quarters: wherever the copy lies over the training patches, or across their borders, one quarter lies wholly within
one of them. Each quarter is compared with every window of every training patch, turned and mirrored ones included: as it is,
half a pixel further, and at four other scales.

Training patches stream by in blocks, so that memory does not grow with their number; each query keeps its best few windows
by the first 64 components. These are judged by more components, in double precision and in an order of operations that no
number of threads changes: by how many windows would match so well by chance (the a-contrario principle of Desolneux, Moisan
and Morel 2000). Then each patch is laid beside the few training patches that came nearest, quarter by quarter: one that was
zoomed, warped or blurred is like its original in all quarters a little, where chance makes it so in one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from skimage.feature import match_template

from histogenesis.metrics.memorisation import windows as w
from histogenesis.metrics.memorisation.evidence import FINE, evidence, spread, together

CANDIDATES = 3  # windows that each query keeps, and each chunk may add one
JUDGED = 32  # pairs of each patch that are judged by all components
BESIDE = 3  # training patches that each patch is laid beside, quarter by quarter
BLOCK = 2048  # training patches read at once
CHUNK = 32  # training patches whose windows are held at once
QUERIES = 4096  # queries at once

Read = Callable[[np.ndarray], np.ndarray]


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
        shows_texture = np.zeros(4 * self.n, bool)

        def add(found, size):
            found = found.reshape(4 * self.n, side, side)
            textured = ~w.plain(found)
            if size == 1:
                shows_texture[textured] = True
            parts.append(w.upright(found[textured]).reshape(-1, side**2))
            patch.append(owners[textured])
            quarter.append(corners[textured])
            scale.append(np.full(textured.sum(), size))

        add(w.quarters(even, side), 1)
        add(w.quarters(odd, side), 1)
        for size in w.SCALES:
            found = w.scaled_quarters(even, side, size)
            if found is not None:
                add(found, size)
        own = w.upright(w.quarters(even, side).reshape(-1, side, side)[shows_texture]).reshape(-1, side**2)
        self.spread: np.ndarray = like.spread if like is not None else basis.spread_of(own)
        self.windows = np.concatenate(parts).astype(np.float32)
        self.coarse = w.unit(basis.project(self.windows) / self.spread[: w.COMPONENTS])
        self.patch, self.quarter, self.scale = (np.concatenate(v) for v in (patch, quarter, scale))
        self.plain = np.logical_not(shows_texture.reshape(self.n, 4).any(axis=1))
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

    def match(self, read: Read, n: int, sets: list[Queries]) -> list[Match]:
        """The best match of each patch of each set, among all n training patches; read(rows): uint8 (m, p, p, 3) of these."""
        windows = 0
        for first in range(0, n, BLOCK):
            images = read(np.arange(first, min(first + BLOCK, n)))
            for start in range(0, len(images), CHUNK):
                windows += self._chunk(first + start, images[start : start + CHUNK], sets)
        return [self._judged(queries, windows, read, n) for queries in sets]

    def _windows(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All windows of images that show something, upright (m, side^2), and which image each is of (m,)."""
        side = self.basis.side
        view = sliding_window_view(w.small_grey(images), (side, side), axis=(1, 2))
        found = view.reshape(-1, side, side)
        textured = np.flatnonzero(~w.plain(found))
        return w.upright(found[textured]).reshape(len(textured), side**2), textured // view.shape[1] ** 2

    def _chunk(self, first, images, sets) -> int:
        upright, of = self._windows(images)
        if len(upright):
            coarse = w.unit(self.basis.project(upright) / self.basis.spread[: w.COMPONENTS])
            for queries in sets:
                queries.look(coarse, upright, first + of)
        return len(upright)

    def _judged(self, queries: Queries, windows: int, read: Read, n: int) -> Match:
        """The pairs of each patch that look best by the quick components, judged by all of them, and beside whole patches."""
        query, candidate = np.nonzero(queries.train >= 0)
        patch = queries.patch[query]
        order = np.lexsort((-queries.cosine[query, candidate], patch))
        rank = np.arange(len(order)) - np.searchsorted(patch[order], patch[order])
        query, candidate = (v[order[rank < JUDGED]] for v in (query, candidate))
        own, other = queries.windows[query], queries.found[query, candidate]
        a = self.basis.project_exactly(own) / queries.spread
        b = self.basis.project_exactly(other) / self.basis.spread
        value = evidence(a, b, spread(own), spread(other))
        patch, train, quarter = queries.patch[query], queries.train[query, candidate], queries.quarter[query]
        tests = len(FINE) * max(1, windows) * max(1, len(queries.patch)) / max(1, queries.n)
        single = value - np.log(tests)
        rows = np.stack([patch, train, quarter, query]).T
        beside, several = self._beside(queries, patch, train, single, read, n)
        rows, value = np.concatenate([rows, beside]), np.concatenate([single, several])
        order = np.lexsort(
            (-rows[:, 2], -rows[:, 1], value)
        )  # the greatest last; of equal ones the first training patch
        out = Match(
            np.full(queries.n, -np.log(tests)),
            np.zeros(queries.n, np.int64),
            np.zeros(queries.n, np.int64),
            queries.plain,
            np.ones(queries.n),
        )
        at = rows[order, 0]
        for mine, v in (
            (out.surprise, value),
            (out.train, rows[:, 1]),
            (out.quarter, rows[:, 2]),
            (out.scale, queries.scale[rows[:, 3]]),
        ):
            mine[at] = v[order]
        return replace(out, surprise=(out.surprise - np.log(2)) / np.log(10))  # two ways of finding one

    def _beside(self, queries, patch, train, value, read, n) -> tuple[np.ndarray, np.ndarray]:
        """Each patch beside the BESIDE training patches that `value` is greatest of: rows (patch, train, quarter, query) and
        -log of how often chance gives as much in any of the n."""
        order = np.lexsort((train, -value, patch))
        pairs = dict.fromkeys(zip(patch[order].tolist(), train[order].tolist()))
        count, chosen = np.zeros(queries.n, int), []
        for p, t in pairs:
            if count[p] < BESIDE:
                chosen.append((t, p))
                count[p] += 1
        rows, values = [], []
        for t, group in groupby(sorted(chosen), key=lambda pair: pair[0]):
            windows = self._windows(read(np.array([t])))[0]
            b, pixels = self.basis.project_exactly(windows) / self.basis.spread, spread(windows)
            for _, p in group:
                query = np.flatnonzero(queries.patch == p)
                own = queries.windows[query]
                a = self.basis.project_exactly(own) / queries.spread
                found = evidence(a, b, spread(own), pixels, every=True)
                strength, best = together(found, queries.quarter[query])
                rows.append((p, t, queries.quarter[query[best]], query[best]))
                values.append(strength - np.log(n))
        return np.array(rows, np.int64).reshape(-1, 4), np.array(values)


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
