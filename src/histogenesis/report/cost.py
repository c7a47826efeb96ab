"""What a run's synthetic slides cost: network evaluations, counted as they are drawn, and seconds, from the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.conditioning_crop import ConditioningCrop
from histogenesis.canvas.plan import plan_of
from histogenesis.canvas.tiling import ForegroundMask, shifted_grid
from histogenesis.recipe import AnyLevel, Level, Recipe, UpscaledLevel
from histogenesis.report.found import Run

MAKING = ("draw_level", "draw_share", "upscale_level")  # the steps that make levels, and not what is made of them


def tiles_of(
    recipe: Recipe, k: int, slide: str, plan: np.ndarray, above: Path | None = None
) -> Iterator[tuple[int, int]]:
    """Side in px of the tiles that a network evaluates for level k of a slide, and how often: (side, evaluations), ...

    Px are the picture's, also where the network works on latents; that an autoencoder decodes them once is not counted.
    above: the finished level above; where it is not given, white tiles count like others.
    """
    level: AnyLevel = recipe.synthetic.levels[k]
    size_px, used = recipe.synthetic.size_px(k), plan if k else None
    if isinstance(level, Level):
        yield from _drawn(level, recipe, k, slide, used, above)
    elif isinstance(level, UpscaledLevel) and level.model:  # an upscaler that was trained
        side, foreground, (height, width) = level.tile_px, ForegroundMask(used, *size_px), size_px
        for tile in shifted_grid(max(height, side), max(width, side), side, 0, 0):
            rows, columns = (slice(part.start, min(part.stop, n)) for part, n in zip(tile.core, size_px))
            if foreground.any((rows, columns)):
                yield min(side, *size_px), 1


def _drawn(
    level: Level, recipe: Recipe, k: int, slide: str, plan: np.ndarray | None, above: Path | None
) -> Iterator[tuple[int, int]]:
    """As the drawing's own plan has it: every round, each network of a cascade, with the steps that are taken again."""
    size_px, latent_px = recipe.synthetic.size_px(k), recipe.latent_px(level.model)
    above_px = recipe.synthetic.size_px(k - 1) if k else size_px
    (down, across), foreground = (n / m for n, m in zip(size_px, above_px)), ForegroundMask(plan, *size_px, latent_px)
    rounds = plan_of(level, size_px, (recipe.seed, slide, k), latent_px, down)
    skip = level.skip_background
    with LevelFile(above) if above and skip else nullcontext() as seen:
        crop = ConditioningCrop(seen, (down, across), (255, 255, 255)) if seen else None
        for one in rounds:
            tiles = [tile for tile in one.tiles.values() if foreground.any(tile.core)]
            if crop:
                tiles = [tile for tile in tiles if not crop.is_background(tile, skip.share, skip.above)]
            for network, times in zip(level.networks, rounds.evaluated(one)):
                yield from ((network.tile_px, times) for _ in tiles)


def evaluations(
    recipe: Recipe, plans: dict[str, np.ndarray], levels: dict[str, list[Path]] | None = None
) -> dict[str, float]:
    """Of all slides: network evaluations for each megapixel of the finest canvases, and evaluated px for each px.

    plans: slide -> tissue plan; levels: slide -> its finished levels. A tile at one noise level is one evaluation, whatever
    batch it was in.
    """
    height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
    pixels, count, seen = height * width * len(plans), 0, 0
    for slide, plan in plans.items():
        files = (levels or {}).get(slide, [])
        for k in range(len(recipe.synthetic.levels)):
            above = files[k - 1] if 0 < k <= len(files) else None
            for side, times in tiles_of(recipe, k, slide, plan, above):
                count, seen = count + times, seen + times * side**2
    return {"evaluations_per_megapixel": 1e6 * count / pixels, "evaluations_per_pixel": seen / pixels}


def seconds(run: Run, recipe: Recipe) -> dict[str, float]:
    """Wall time of drawing each megapixel of the finest canvases (all levels together), and of training; if measured."""
    height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
    making = [one.seconds for one in run.benchmarks if one.step in MAKING]
    training = [one.seconds for one in run.benchmarks if one.step == "train_model"]
    found = {}
    if making:
        found["seconds_per_megapixel"] = 1e6 * sum(making) / (height * width * recipe.synthetic.slides)
    if training:
        found["training_seconds"] = sum(training)
    return found
