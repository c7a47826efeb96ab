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

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer
from histogenesis.evaluation.crops import CanvasSource, Source
from histogenesis.metrics.coherence.coherence import LevelTiles
from histogenesis.metrics.coherence.seams import tile_lines
from histogenesis.metrics.distances.kernel import gaussian
from histogenesis.metrics.encoders.features import encode
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation

NAME = "seam_mmd"
WHITE = 220  # a pixel all of whose channels are above this is taken for glass
MOST = 150  # pairs of crops at each mpp
FEWEST = 12  # pairs of crops; fewer give no number
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
    return tuple(np.stack(part) for part in zip(*pairs)) if pairs else (none, none)


def canvas_pairs(canvases: list[CanvasSource], tiles: LevelTiles, mpp: float, crop_px: int, n: int, seed: int):
    """Pairs of the level at `mpp` of all synthetic slides, as many of each."""

    def pairs(canvas: CanvasSource, rng):
        image = canvas.level(mpp)["image"]
        return seam_pairs(
            lambda y, x: image[y : y + crop_px, x : x + crop_px],
            image.shape[:2],
            tiles,
            crop_px,
            n // len(canvases) or 1,
            rng,
        )

    return _together([c for c in canvases if c.level(mpp) is not None], pairs, seed)


def real_pairs(slides: list[Source], tiles: LevelTiles, mpp: float, crop_px: int, n: int, seed: int):
    """The same of real slides, under a grid that is only imagined."""
    fine = [s for s in slides if not is_finer(mpp, s.finest_mpp)]

    def pairs(slide: Source, rng):
        size_px = int(slide.height_um / mpp), int(slide.width_um / mpp)
        return seam_pairs(
            lambda y, x: slide.read(x * mpp, y * mpp, crop_px, mpp), size_px, tiles, crop_px, n // len(fine) or 1, rng
        )

    return _together(fine, pairs, seed)


def seam_metrics(
    encoders: list[Encoder],
    real: list[Source],
    canvases: list[CanvasSource],
    tiles: list[LevelTiles],
    crop_px: int,
    options: Evaluation,
    seed: int,
) -> list[dict]:
    """Entries of metrics.json, one for each level that has tile lines and each encoder; the floor is that of real slides."""
    if not canvases or not real:
        return []
    entries = []
    mpps = [float(file.attrs["mpp"]) for file in canvases[0].files]
    for k, (mpp, tile) in enumerate(zip(mpps, tiles)):
        found = [
            canvas_pairs(canvases, tile, mpp, crop_px, min(MOST, options.images), seed),
            real_pairs(real, tile, mpp, crop_px, min(MOST, options.images), seed),
        ]
        if min(len(on) for on, _ in found) < FEWEST:
            continue
        for encoder in encoders:
            try:
                value, floor = (paired_distance(*(encode(encoder, crops) for crops in pair), seed) for pair in found)
            except BadInput as error:
                entries.append(_row(encoder, mpp, tile, k) | {"note": str(error)})
                continue
            note = f"crops of {crop_px} px across tile lines against crops beside them, 0: no seam; floor: real slides"
            note += f"; {EXCHANGES} random exchanges within the pairs: p = {value.p:.3g}, on real slides {floor.p:.3g}"
            row = _row(encoder, mpp, tile, k) | {
                "value": value.value,
                "floor": floor.value,
                "p": value.p,
                "floor_p": floor.p,
            }
            row |= {"chance": value.chance, "n_real": len(found[1][0]), "n_generated": len(found[0][0])}
            entries.append(row | {"pairs": len(found[0][0]), "note": note})
    return entries


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


def _row(encoder: Encoder, mpp: float, tile: LevelTiles, level: int) -> dict:
    joining = tile.joining["kind"] if isinstance(tile.joining, dict) else tile.joining
    row = {"name": NAME, "kind": "seams", "encoder": encoder.name, "mpp": mpp, "level": level}
    row |= {"joining": joining, "tile_px": tile.tile_px}
    row |= dict.fromkeys(("value", "low", "high", "floor", "floor_low", "floor_high", "p", "floor_p", "chance"))
    why = "no interval: p says how often chance gives as much"
    return row | {"n_real": 0, "n_generated": 0, "better": "lower", "file": "", "note": "", "interval": why}


def _together(sources: list, pairs: Callable, seed: int) -> tuple[np.ndarray, np.ndarray]:
    parts = [pairs(source, np.random.default_rng([seed, i])) for i, source in enumerate(sources)]
    parts = [part for part in parts if len(part[0])]
    none = np.zeros((0, 1, 1, 3), np.uint8)
    return tuple(np.concatenate(part) for part in zip(*parts)) if parts else (none, none)
