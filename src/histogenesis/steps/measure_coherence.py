"""Seams and agreement between scales, of each level of a synthetic slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histogenesis.core.files import write_json
from histogenesis.metrics.coherence import coherence
from histogenesis.metrics.coherence.coherence import LevelTiles
from histogenesis.recipe import Evaluation


def measure_coherence(
    *, levels_dir: Path, plan: Path, tiles: Sequence[LevelTiles], out: Path, options: Evaluation = Evaluation()
) -> None:
    """Seam score and cross-scale error of each level of a synthetic slide, as coherence.json.

    Reads level0.h5, level1.h5, ... and the tissue plan.

    levels_dir: folder of level0.h5, level1.h5, ...
    plan: plan.png: tissue, one px for each px of level 0
    tiles: how each level was drawn: {"tile_px": .., "joining": .., "constraint": ..}, ...
    out: coherence.json; maps of the error are written beside it
    options: the recipe's section `evaluation`
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    found = coherence.measure_coherence(levels_dir, plan, options.seam_shifts, list(tiles), out.parent)
    write_json(out, found)
