"""What a run's synthetic slides cost: network evaluations, counted as they are drawn, and seconds, from the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from histogenesis.cascade.draw import Drawing
from histogenesis.cascade.tiling import Drawn, shifted_grid
from histogenesis.cascade.upscalers import UPSCALERS, LearnedUpscaler
from histogenesis.config import Level, Recipe, UpscaledLevel
from histogenesis.diffusion.model import Normalisation
from histogenesis.report.gather import Run

ANY = Normalisation([0.0, 0.0, 0.0], 1.0, 1.0)  # counting tiles needs no units
MAKING = ("draw_level", "upscale_level")  # the steps that make levels, and not what is made of them


def tiles_of(recipe: Recipe, k: int, slide: str, plan: np.ndarray) -> Iterator[int]:
    """Side in px of every tile that a network evaluates for level k of a slide, one by one."""
    level: Level | UpscaledLevel = recipe.synthetic.levels[k]
    size_px, used = recipe.synthetic.size_px(k), plan if k else None
    if level.kind == "draw":
        levels = [float(n) for n in range(1, level.sampler.steps + 1)]  # any noise levels give the same tiles
        drawing = Drawing(
            level, size_px, k, recipe.seed, slide, denoise=None, normalisation=ANY, plan=used, learned=levels
        )
        for stage in range(len(drawing.stages)):
            yield from (tile.size for tile in drawing.tiles(stage))
    elif UPSCALERS[level.method.kind] is LearnedUpscaler:
        side, drawn = level.tile_px, Drawn(used, *size_px)
        grid = shifted_grid(*(max(n, side) for n in size_px), side, 0, 0)
        inside = [tuple(slice(part.start, min(part.stop, n)) for part, n in zip(t.core, size_px)) for t in grid]
        yield from (min(side, *size_px) for window in inside if drawn.any(window))


def evaluations(recipe: Recipe, plans: dict[str, np.ndarray]) -> dict[str, float]:
    """Of all slides: network evaluations for each megapixel of the finest canvases, and evaluated px for each px.

    plans: slide -> tissue plan. A tile at one noise level is one evaluation, whatever batch it was in.
    """
    height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
    pixels, count, seen = height * width * len(plans), 0, 0
    for slide, plan in plans.items():
        for k in range(len(recipe.synthetic.levels)):
            for side in tiles_of(recipe, k, slide, plan):
                count, seen = count + 1, seen + side**2
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
