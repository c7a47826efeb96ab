"""What drawing a recipe's slides will cost: tiles of the plan that it follows, memory that its jobs will ask for."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np

from histogenesis.canvas.memory import TORCH_MB, drawing_mb, state_of
from histogenesis.core.errors import BadInput
from histogenesis.models.card import read_card
from histogenesis.models.costs import Cost, cost
from histogenesis.models.shipped import folder_of
from histogenesis.provenance.devices import processes_of
from histogenesis.recipe import Level, Recipe
from histogenesis.recipe.models import ImportedModel
from histogenesis.report.cost import tiles_of
from histogenesis.steps.work import Part, cost_of

TIFF_BYTES = 0.7  # of JPEG (4:4:4, quality 89) to each pixel of tissue, its pyramid included
LEVEL_BYTES = 3.0  # of a finished level to each of its pixels, all kept as they are


def drawings(recipe: Recipe, tissue: float) -> list[Part]:
    """Each level of all synthetic slides: the tiles of every evaluation of its plan, but for the share without tissue."""
    found: list[Part] = []
    if not recipe.synthetic:
        return found
    slides = recipe.synthetic.slides
    for k, level in enumerate(recipe.synthetic.levels):
        height, width = recipe.synthetic.size_px(k)
        everywhere = np.ones(recipe.synthetic.size_px(0), bool)
        share = 1.0 if k == 0 else drawn_share(tissue, getattr(level, "tile_px", 1), height, width)
        part = Part(
            f"draw level {k} ({level.mpp:g} mpp)",
            count=slides,
            memory_gb=1e-3 * level_mb(recipe, k),
            disk_gb=1e-9 * LEVEL_BYTES * height * width * slides,
            state_gb=1e-9 * state_on_disk(recipe, k, share),
            precision=getattr(level, "precision", "fp32"),
        )
        by_side: Counter[int] = Counter()
        for side, times in tiles_of(recipe, k, recipe.synthetic.names[0], everywhere):
            by_side[side] += times
        for side, times in by_side.items():
            part.evaluations += share * times * slides
            for one, asked in costs_of(recipe, level, side):
                part.add(one, asked * share * times * slides)
        found.append(part)
    height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
    found.append(Part("slides as TIFF", count=slides, disk_gb=1e-9 * TIFF_BYTES * tissue * height * width * slides))
    return found


def level_mb(recipe: Recipe, k: int) -> float:
    """Memory that the job of a level asks for at its first try, MB."""
    level = recipe.synthetic.levels[k]
    if not isinstance(level, Level):
        return 2 * TORCH_MB if level.doubles else 2000  # upscaled, or given
    return drawing_mb(level, recipe.synthetic.size_px(k), recipe.latent_px(level.model), processes_of(level))


def state_on_disk(recipe: Recipe, k: int, share: float) -> float:
    """Bytes of a level in progress: two sets of its planes, in files or as checkpoints; or the tiles that are finished."""
    level, (height, width) = recipe.synthetic.levels[k], recipe.synthetic.size_px(k)
    if not isinstance(level, Level):
        return 0.0
    if level.tile_by_tile:
        return 3 * share * height * width
    return 2 * state_of(level, (height, width), recipe.latent_px(level.model))


def drawn_share(tissue: float, tile_px: int, height: int, width: int) -> float:
    """Share of a canvas's tiles that touch tissue: more than that of its pixels, as tiles at the border are drawn whole."""
    side = tile_px / min(height, width)
    return min(1.0, tissue + 2 * side * tissue**0.5)


def costs_of(recipe: Recipe, level, side: int) -> list[tuple[Cost, float]]:
    """Networks that are asked for one evaluation of a tile of that side, and how often each: the model, and what guides it.

    Also of a model that is taken, as its model.json says; none of one that is not there, and of one that is taken and
    draws latents, whose size only the autoencoder's files tell.
    """
    networks = level.networks if level.from_noise else []
    name = next((network.model for network in networks if network.tile_px == side), level.model)
    if name is None:
        return []
    how = side, getattr(level, "precision", "fp32"), getattr(level, "batch", 1)
    poorer = getattr(level, "weaker", None) or name
    asked = [(_cost(recipe, name, *how), 1.0), (_cost(recipe, poorer, *how), guided_share(level))]
    return [(one, times) for one, times in asked if one and times]


def _cost(recipe: Recipe, name: str, side: int, precision: str, batch: int) -> Cost | None:
    model, imported = recipe.trained_models.get(name), recipe.models[name]
    if model:
        return cost_of(model, side, precision, batch)
    return _cost_of_imported(imported.source, side, precision, batch) if isinstance(imported, ImportedModel) else None


@cache
def _cost_of_imported(source: str, px: int, precision: str, batch: int) -> Cost | None:
    try:
        section = read_card(folder_of(source))["section"]
    except BadInput:
        return None
    return None if section.get("autoencoder") else cost(section, px, batch, half=precision == "bf16").over(batch)


def guided_share(level) -> float:
    """Share of a level's steps that ask a second time: its model without the class, or a weaker one."""
    if not getattr(level, "guidance", 0):
        return 0.0
    sampler, start = level.sampler, level.start and level.start.sigma
    if sampler.guided_sigmas is None or sampler.on_schedule:
        return 1.0
    low, high = sampler.guided_sigmas
    sigmas = sampler.step_sigmas(start)[:-1]
    return sum(low < sigma <= high for sigma in sigmas) / len(sigmas)
