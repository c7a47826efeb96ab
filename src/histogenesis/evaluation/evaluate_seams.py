"""Seams in feature space, of synthetic slides and, under an imagined grid, real ones (metrics/coherence/feature_seams.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer
from histogenesis.evaluation.crops import CanvasSource, Source
from histogenesis.metrics.coherence.coherence import LevelTiles
from histogenesis.metrics.coherence.feature_seams import EXCHANGES, paired_distance, seam_pairs
from histogenesis.metrics.encoders.features import encode
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation

NAME = "seam_mmd"
MOST = 150  # pairs of crops at each mpp
FEWEST = 12  # pairs of crops; fewer give no number


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
                value, real_reference = (
                    paired_distance(encode(encoder, on), encode(encoder, beside), seed) for on, beside in found
                )
            except BadInput as error:
                entries.append(_row(encoder, mpp, tile, k) | {"note": str(error)})
                continue
            note = f"crops of {crop_px} px across tile lines against crops beside them, 0: no seam; floor: real slides"
            note += f"; {EXCHANGES} random exchanges within the pairs: p = {value.p:.3g}, on real slides {real_reference.p:.3g}"
            row = _row(encoder, mpp, tile, k) | {
                "value": value.value,
                "floor": real_reference.value,
                "p": value.p,
                "floor_p": real_reference.p,
            }
            row |= {"chance": value.chance, "n_real": len(found[1][0]), "n_generated": len(found[0][0])}
            entries.append(row | {"pairs": len(found[0][0]), "note": note})
    return entries


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
    if not parts:
        none = np.zeros((0, 1, 1, 3), np.uint8)
        return none, none
    return np.concatenate([on for on, _ in parts]), np.concatenate([beside for _, beside in parts])
