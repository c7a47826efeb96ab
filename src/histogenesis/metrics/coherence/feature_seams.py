"""Seams in feature space: do crops across a tile line differ, to an encoder, from crops beside it?

Steepness (seams.py) sees an edge; an encoder also sees that two sides of a line do not belong together. Crops centred on
tile lines are compared with crops of the same neighbourhoods that were moved half a tile away from their line, by the
unbiased kernel two-sample statistic (MMD; Gretton et al. 2012): 0 where a tile line is a place like any other. The control is
the same on real slides, on which the same grid is only imagined.

Each crop has its partner beside it, so the test is of pairs: where a tile line is a place like any other the two may be
exchanged, and the statistic of 999 random exchanges says how often chance gives as much. It has no side: a blurred line, a
feathered one and a step are all told apart from what lies beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist

from histogenesis.metrics.coherence.coherence import LevelTiles
from histogenesis.metrics.coherence.seams import tile_lines
from histogenesis.metrics.distances.kernel import gaussian

WHITE = 220  # a pixel all of whose channels are above this is taken for glass
TRIES = 20
EXCHANGES = 999

Read = Callable[[int, int], np.ndarray]  # (y, x) in px of a level -> uint8 (p, p, 3)


def seam_pairs(
    read: Read, size_px: tuple[int, int], tiles: LevelTiles, crop_px: int, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Up to n crops centred on a tile line, and the same moved half a tile across it; two of (k, p, p, 3) uint8.

    size_px: height and width of the level. A pair counts where neither crop is mostly white. k = 0 where no two tiles meet.
    """
    lines = [tile_lines(side, tiles.tile_px, *tiles.overlap) for side in size_px]
    gaps = [int(np.median(np.diff([0, *at, side]))) for at, side in zip(lines, size_px)]
    weights = np.array([len(at) * (min(size_px) >= crop_px) for at in lines], float)
    none = np.zeros((0, crop_px, crop_px, 3), np.uint8)
    if not weights.sum():
        return none, none
    pairs = []
    for _ in range(TRIES * n):
        axis = int(rng.choice(2, p=weights / weights.sum()))
        on = np.empty(2, int)
        on[axis] = rng.choice(lines[axis]) - crop_px // 2
        on[1 - axis] = rng.integers(0, size_px[1 - axis] - crop_px + 1)
        beside = on.copy()
        beside[axis] += (gaps[axis] // 2) * rng.choice((-1, 1))
        if min(on[axis], beside[axis]) < 0 or max(on[axis], beside[axis]) > size_px[axis] - crop_px:
            continue
        pair = []
        for place in (on, beside):
            crop = read(*place)
            if (crop.min(axis=-1) > WHITE).mean() > 0.5:
                break
            pair.append(crop)
        if len(pair) == 2:
            pairs.append(pair)
        if len(pairs) == n:
            break
    if not pairs:
        return none, none
    return np.stack([one for one, _ in pairs]), np.stack([other for _, other in pairs])


@dataclass(frozen=True)
class PairedDistance:
    """value: 1000 MMD^2 between the two sides; chance: what 95 of 100 exchanges stay below; p: how often chance gives that."""

    value: float
    chance: float
    p: float


def paired_distance(on: np.ndarray, beside: np.ndarray, seed: int = 0, exchanges: int = EXCHANGES) -> PairedDistance:
    """The permutation test of pairs, features (n, d) and (n, d): Gaussian kernel on features of unit variance, the median
    distance as bandwidth. Exact at any n: the p-value of exchangeable pairs is uniform or larger."""
    both = np.concatenate([on, beside]).astype(np.float64)
    both = (both - both.mean(axis=0)) / np.maximum(both.std(axis=0), 1e-9)
    kernel = gaussian(float(np.median(pdist(both[:: max(1, len(both) // 500)]))) or 1.0)(both, both)
    n = len(on)
    # with s = +1 or -1 as a pair is exchanged, the statistic is the sum of s_i s_j h_ij over i != j
    h = kernel[:n, :n] + kernel[n:, n:] - kernel[:n, n:] - kernel[n:, :n]
    np.fill_diagonal(h, 0)
    h *= 1000 / (n * (n - 1))
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), (exchanges, n))
    value, chance = float(h.sum()), np.einsum("ei,ei->e", signs @ h, signs)
    p = (1 + np.sum(chance >= value - 1e-9 * abs(value))) / (1 + exchanges)
    return PairedDistance(value, float(np.quantile(chance, 0.95)), float(p))
