"""Where patches are cut: places with enough tissue, on a grid or at random, the same ones every time."""

from __future__ import annotations

import hashlib

import numpy as np

ROWS = 256  # of a lattice, at once
ROUNDS = 50  # of random draws, before fewer patches than wished are accepted


class TissueShare:
    """The share of tissue under any square of a slide, exact for the mask's pixels (integral image).

    mask: bool (h, w); scale: slide pixels per mask pixel.
    """

    def __init__(self, mask: np.ndarray, scale: float):
        self.scale = scale
        self.sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
        np.cumsum(np.cumsum(mask, axis=0, dtype=np.float64), axis=1, out=self.sums[1:, 1:])

    def __call__(self, x_px: np.ndarray, y_px: np.ndarray, side_px: float) -> np.ndarray:
        """Share (0 to 1) for squares whose top left corners are at slide pixels (x_px, y_px). Arrays that broadcast."""
        x0, y0, side = x_px / self.scale, y_px / self.scale, side_px / self.scale
        inner = (
            self.area(y0 + side, x0 + side) - self.area(y0, x0 + side) - self.area(y0 + side, x0) + self.area(y0, x0)
        )
        return np.clip(inner / side**2, 0, 1)

    def area(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Tissue above and to the left of (y, x), in mask pixels; between pixels' corners the integral is bilinear."""
        height, width = np.array(self.sums.shape) - 1
        y, x = np.clip(y, 0, height), np.clip(x, 0, width)
        i, j = np.minimum(y.astype(int), height - 1), np.minimum(x.astype(int), width - 1)
        v, u, s = y - i, x - j, self.sums
        return (1 - v) * ((1 - u) * s[i, j] + u * s[i, j + 1]) + v * ((1 - u) * s[i + 1, j] + u * s[i + 1, j + 1])


def place_patches(
    mask: np.ndarray,
    mask_mpp: float,
    slide_mpp: float,
    size_px: tuple[int, int],
    patch_px: int,
    mpp: float,
    min_tissue: float = 0.1,
    per_slide: int = 500,
    placement: str = "random",
    seed: int = 1,
    slide: str = "",
) -> tuple[np.ndarray, np.ndarray]:
    """Choose places for patches of `patch_px` at `mpp`, wholly inside the slide, with at least `min_tissue` tissue.

    mask: bool (h, w) at mask_mpp; size_px: the slide's (width, height) at slide_mpp. `grid`: beside one another without
    overlap; `random`: anywhere; `whole`: one, about the slide's centre, wherever the slide ends. Returns coords int64 (n, 2),
    the top left (x, y) at the slide's full resolution, row by row and without duplicates, and the tissue share float32 (n,).
    n is at most per_slide, and 0 if the slide is smaller than a patch.
    A function of (seed, slide, mpp) and the mask alone.
    """
    side_px = patch_px * mpp / slide_mpp
    if placement == "whole":
        return whole(TissueShare(mask, mask_mpp / slide_mpp), size_px, side_px, min_tissue)
    last = np.floor(np.array(size_px) - side_px + 1e-6).astype(int)  # of the top left corner
    if (last < 0).any() or not mask.any():
        return np.zeros((0, 2), np.int64), np.zeros(0, np.float32)
    share = TissueShare(mask, mask_mpp / slide_mpp)
    key = hashlib.sha256(f"place/{seed}/{slide}/{mpp!r}".encode()).digest()
    random = np.random.default_rng(np.frombuffer(key, np.uint32))
    if placement == "grid":
        coords = grid(share, side_px, last, min_tissue)
        if len(coords) > per_slide:
            coords = coords[random.choice(len(coords), per_slide, replace=False)]
    else:
        coords = scatter(share, side_px, last, min_tissue, per_slide, random)
    coords = coords[np.lexsort((coords[:, 0], coords[:, 1]))]
    return coords, share(coords[:, 0], coords[:, 1], side_px).astype(np.float32)


def whole(
    share: TissueShare, size_px: tuple[int, int], side_px: float, min_tissue: float
) -> tuple[np.ndarray, np.ndarray]:
    """The one square about the slide's centre; its corner may lie outside. Coords int64 (1 or 0, 2), tissue share float32."""
    coords = np.round((np.array([size_px]) - side_px) / 2).astype(np.int64)
    found = share(coords[:, 0], coords[:, 1], side_px).astype(np.float32)
    kept = enough_tissue(found, min_tissue)
    return coords[kept], found[kept]


def grid(share: TissueShare, side_px: float, last: np.ndarray, min_tissue: float) -> np.ndarray:
    """Squares beside one another, centred on the slide, that have enough tissue. int64 (n, 2)"""
    step = int(np.ceil(side_px - 1e-6))
    starts = [np.arange((n % step) // 2, n + 1, step) for n in last]
    x, y = np.meshgrid(*starts)
    enough = enough_tissue(share(x, y, side_px), min_tissue)
    return np.stack([x[enough], y[enough]], axis=1).astype(np.int64)


def scatter(
    share: TissueShare, side_px: float, last: np.ndarray, min_tissue: float, wanted: int, random: np.random.Generator
) -> np.ndarray:
    """Up to `wanted` different random places that have enough tissue. int64 (n, 2)

    Drawn around the points of a lattice as fine as the mask that have enough tissue (so that little tissue on a large slide
    is found), each moved at random within its cell, and checked again where it then lies.
    """
    step = max(1, int(share.scale))
    lattice = [np.unique(np.append(np.arange(0, n + 1, step), n)) for n in last]
    found_in_rows = []
    for top in range(0, len(lattice[1]), ROWS):
        enough = enough_tissue(share(lattice[0], lattice[1][top : top + ROWS, None], side_px), min_tissue)
        found_in_rows.append(np.argwhere(enough) + np.array([top, 0]))
    places = np.concatenate(found_in_rows)
    if not len(places):
        return np.zeros((0, 2), np.int64)
    found: dict[tuple[int, int], None] = {}
    for _ in range(ROUNDS):
        row, column = places[random.integers(len(places), size=2 * wanted)].T
        moved = random.integers(-(step // 2), step - step // 2, size=(2 * wanted, 2))
        coords = np.clip(np.stack([lattice[0][column], lattice[1][row]], axis=1) + moved, 0, last)
        enough = enough_tissue(share(coords[:, 0], coords[:, 1], side_px), min_tissue)
        found.update(dict.fromkeys(map(tuple, coords[enough].tolist())))
        if len(found) >= wanted:
            break
    return np.array(list(found)[:wanted], np.int64).reshape(-1, 2)


def enough_tissue(share: np.ndarray, min_tissue: float) -> np.ndarray:
    """At least `min_tissue`, to rounding; and some, if that is 0."""
    return (share >= min_tissue - 1e-9) & (share > 1e-9)
