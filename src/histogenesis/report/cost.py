"""What a run's synthetic slides cost: network evaluations, counted as they are drawn, and seconds, from the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.draw import Drawing
from histogenesis.canvas.space import Pixels
from histogenesis.canvas.tilewise import Painter, TileDrawing
from histogenesis.canvas.tiling import Drawn, shifted_grid
from histogenesis.canvas.upscalers import UPSCALERS, LearnedUpscaler
from histogenesis.models.model import Normalisation
from histogenesis.recipe import Level, Recipe, Sampler, UpscaledLevel
from histogenesis.report.gather import Run

ANY = Normalisation([0.0, 0.0, 0.0], 1.0, 1.0)  # counting tiles needs no units
MAKING = ("draw_level", "draw_wave", "upscale_level")  # the steps that make levels, and not what is made of them


class Counted(Pixels):
    """A space of which only the size matters."""

    def __init__(self, factor: int):
        self.factor = factor


def tiles_of(
    recipe: Recipe, k: int, slide: str, plan: np.ndarray, above: Path | None = None
) -> Iterator[tuple[int, int]]:
    """Side in px of the tiles that a network evaluates for level k of a slide, and how often: (side, evaluations), ...

    Px are the picture's, also where the network sees latents; that an autoencoder decodes them once is not counted.
    above: the finished level above; where it is not given, white tiles count like others.
    """
    level: Level | UpscaledLevel = recipe.synthetic.levels[k]
    size_px, used = recipe.synthetic.size_px(k), plan if k else None
    if level.kind == "draw" and level.tile_by_tile:
        yield from _one_by_one(level, recipe, k, slide, used, above)
    elif level.kind == "draw":
        learned = _any_levels(level.sampler)
        counted = {"plan": used, "learned": learned, "space": Counted(recipe.latent_px(level.model))}
        with LevelFile(above) if above else nullcontext() as seen:
            drawing = Drawing(level, size_px, k, recipe.seed, slide, None, ANY, above=seen, **counted)
        for stage in range(len(drawing.stages)):
            yield from ((level.tile_px, 1) for _ in drawing.tiles(stage))
    elif UPSCALERS[level.method.kind] is LearnedUpscaler:
        side, drawn = level.tile_px, Drawn(used, *size_px)
        grid = shifted_grid(*(max(n, side) for n in size_px), side, 0, 0)
        inside = [tuple(slice(part.start, min(part.stop, n)) for part, n in zip(t.core, size_px)) for t in grid]
        yield from ((min(side, *size_px), 1) for window in inside if drawn.any(window))


def _one_by_one(
    level: Level, recipe: Recipe, k: int, slide: str, plan: np.ndarray | None, above: Path | None
) -> Iterator[tuple[int, int]]:
    """Of a level whose tiles are drawn one by one: each network of the cascade, with the steps that are taken again."""
    painters = [Painter(None, ANY, learned=_any_levels(network.sampler)) for network in level.networks]
    options = level if above else level.model_copy(update={"white": None})
    size_px = recipe.synthetic.size_px(k)
    with LevelFile(above) if above else nullcontext() as seen:
        drawing = TileDrawing(options, size_px, k, recipe.seed, slide, painters, above=seen, plan=plan)
        tiles = [tile for wave in drawing.waves for tile in wave.values() if drawing.filled(tile) is None]
    again = getattr(level.joining, "resample", 1) - 1
    for network, solver in zip(level.networks, drawing.stages):
        repeated = sum(stage.step < solver[-1].step for stage in solver)
        yield from ((network.tile_px, len(solver) + again * repeated) for _ in tiles)


def _any_levels(sampler: Sampler) -> list[float]:
    """Noise levels of some schedule: which ones does not change the number of evaluations."""
    return [1e-6 * n for n in range(1, sampler.steps + 1)]


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
