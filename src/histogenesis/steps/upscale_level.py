"""Make one level of a synthetic slide from the level above by a baseline."""

from __future__ import annotations

from pathlib import Path

from histogenesis.canvas.canvas import Level
from histogenesis.canvas.upscale import Upscaling
from histogenesis.canvas.upscalers import make_upscaler
from histogenesis.core.device import compute_with, computed_on
from histogenesis.recipe import UpscaledLevel
from histogenesis.steps.inputs import read_plan


def upscale_level(
    *,
    slide: str,
    k: int,
    options: UpscaledLevel,
    size_px: tuple[int, int],
    seed: int,
    above: Path,
    plan: Path,
    out: Path,
    model: Path | None = None,
    threads: int = 1,
) -> None:
    """Make one level of a synthetic slide from the level above by a baseline: bicubic, TV-L1 or a trained network.

    Background is filled as in drawing. It uses no noise, so nothing depends on the seed; a killed run starts over.

    slide: the synthetic slide's name
    k: which level; 0 is the coarsest, which cannot be upscaled
    options: the recipe's section of this level
    size_px: height and width
    seed: of the run; only noted in the file
    above: the finished level above
    plan: plan.json of the tissue plan, beside its plan.png
    out: level{k}.h5
    model: the model's folder, where the method has one
    threads: CPU threads; part of the recipe, as it rounds
    """
    device = compute_with(threads)
    mask, background = read_plan(plan)
    upscaling = Upscaling(
        section=options,
        size_px=size_px,
        k=k,
        seed=seed,
        slide=slide,
        upscaler=make_upscaler(options.method, model, device),
        above=Level(above),
        plan=mask,
        background=background,
        device=device,
    )
    upscaling.run(out, **computed_on(device))
