"""Which combinations of cascade, constraint and joining make sense; the others are refused with the reason."""

from __future__ import annotations

import math
from itertools import pairwise

from histogenesis.canvas.constraints import Averaged
from histogenesis.core.geometry import same_mpp
from histogenesis.recipe.composing import Sampler
from histogenesis.recipe.levels import Level
from histogenesis.recipe.models import Model


def check_drawing(where: str, level: Level, size_px: tuple[int, int], above_px: tuple[int, int] | None) -> None:
    """Raises ValueError, which names the place in the recipe, the reason and the remedy.

    size_px, above_px: height and width of this level's canvas and of that above.
    """
    check_start(where, level, above_px)
    if min(size_px) < level.tile_px:
        raise ValueError(
            f"{where}: the canvas {size_px[0]} x {size_px[1]} px is smaller than one tile of {level.tile_px} px"
        )
    if level.skip_background is not None and above_px is None:
        raise ValueError(f"{where}: nothing lies above it that could be background; leave `skip_background` out")
    check_tile_by_tile(where, level)
    check_cascade(where, level)
    level.constraint.check(where, size_px, above_px, level.tile_px, level.stride_px)
    blocks = [level.tile_px // network.tile_px for network in level.cascade]
    blocks += [level.constraint.block_px(1)] if level.constraint.doubles else []
    level.joining.check(where, size_px, level.tile_px, blocks)


def check_start(where: str, level: Level, above_px: tuple[int, int] | None) -> None:
    """What lies above is noised to no more than the sampler's reach, and a constraint holds for some steps at least."""
    first = level.sampler.sigma_max
    if level.start is not None:
        if above_px is None:
            raise ValueError(f"{where}: nothing lies above it that it could start from; leave `start` out")
        if level.cascade:
            raise ValueError(
                f"{where}: a cascade's first network draws the tile small, from noise: leave `start` or `cascade` out"
            )
        if not level.sampler.sigma_min < level.start.sigma <= first:
            raise ValueError(
                f"{where}: start.sigma {level.start.sigma:g} must lie between the sampler's sigma_min"
                f" {level.sampler.sigma_min:g} and its sigma_max {first:g}"
            )
        first = level.start.sigma
    release = (level.constraint.relaxation.sigma or 0.0) if isinstance(level.constraint, Averaged) else 0.0
    if release >= first:
        raise ValueError(
            f"{where}: a relaxation at sigma {release:g} frees all steps, which begin at {first:g}: use 0.2 to 0.3"
        )


def check_tile_by_tile(where: str, level: Level) -> None:
    """Joinings that let tiles agree at every step know no finished tile."""
    if level.joining.one_by_one:
        return
    for key, why in (
        ("cascade", "a cascade draws each tile to its end before the next network begins"),
        ("skip_background", "a tile of background is finished from the start"),
    ):
        if getattr(level, key):
            raise ValueError(
                f"{where}: `{level.joining.kind}` lets tiles agree at every sampler step, but {why}: use `joining: inpaint` or"
                f" `independent`, or leave `{key}` out"
            )


def check_cascade(where: str, level: Level) -> None:
    """Sizes rise and divide the tile; what enlarges is the cascade, and not the level above."""
    if not level.cascade:
        return
    sizes = [network.tile_px for network in level.networks]
    for smaller, larger in pairwise(sizes):
        if larger <= smaller or larger % smaller:
            raise ValueError(f"{where}: the cascade's tiles of {sizes} px must each be a multiple of the one before")
    if level.constraint.ties:
        raise ValueError(
            f"{where}: the cascade's first network draws the whole tile anew, so `{level.constraint.kind}` would tie only the"
            " last one to the level above: use `context` or `none`, or draw this level without a cascade"
        )


def check_steps(sampler: Sampler, model: Model) -> None:
    """Raises ValueError where a sampler wants a schedule that a model has not learned; the message lacks the model's name."""
    learned = getattr(model.objective, "timesteps", None)
    if learned is None and sampler.timestep_spacing == "schedule":
        raise ValueError("has no schedule of steps; use `sampler: timestep_spacing: karras`")
    if learned and sampler.on_schedule and sampler.steps > learned:
        raise ValueError(f"learns {learned} steps, fewer than the sampler's {sampler.steps}; use at most {learned}")


def check_size(px: int, model: Model) -> None:
    """Raises ValueError where self-attention would see less than the crops that it learnt, or pictures of more than twice their
    side, which was not tried (docs/measurements/pretrained.md); the message lacks the model's name.
    """
    learnt = model.training.crop_px
    if learnt and model.attends and not learnt <= px <= 2 * learnt:
        raise ValueError(
            f"has self-attention and learns crops of {learnt} px (training.crop_px):"
            f" it draws tiles of {learnt} to {2 * learnt} px, not of {px}"
        )


def check_noise(sigma: float, model: Model, remedy: str) -> None:
    """Raises ValueError where drawing would start above the noise that a model learns; the message lacks the model's name."""
    limit = getattr(model.objective, "sigma_limit", None)
    if limit and sigma > limit * (1 + 1e-6):
        raise ValueError(
            f"learns noise up to sigma {limit:g} (objective.sigma_limit), and would start at {sigma:g}; {remedy}"
        )


def check_lowres_noise(noise: float, model: Model) -> None:
    """Raises ValueError where the smaller picture beside would be noisier than a model learns; the message lacks its name."""
    if model.lowres_factor and noise > model.lowres_noise_limit:
        raise ValueError(
            f"learns beside smaller pictures with noise up to {model.lowres_noise_limit:g} (lowres_noise_limit), and would be"
            f" shown them with {noise:g}; set lowres_noise to that or less"
        )


def first_sigma(level: Level, n: int) -> float:
    """The noise at which the n-th network of a level starts."""
    start = level.start if n == len(level.networks) - 1 else None
    return start.sigma if start else level.networks[n].sampler.sigma_max


def learns(mpp: float, mpps: list[float]) -> bool:
    """Whether one of the resolutions that a model has learned is this one, within 3 %."""
    return any(same_mpp(mpp, one) for one in mpps)


def check_latent(level: Level, model: Model) -> None:
    """Raises ValueError where a level cannot be drawn in a latent space; the message lacks the model's name."""
    draws = f"draws in the latent space of {model.autoencoder!r}"
    finished = "it holds finished pixels, and a latent depends on pixels around it that are not finished"
    for there, what, why in (
        (not level.joining.at_every_step, f"`joining: {level.joining.kind}`", finished),
        (level.cascade, "`cascade`", "its networks hand on pixels inside a tile"),
        (level.skip_background, "`skip_background`", finished),
    ):
        if there:
            raise ValueError(
                f"{draws}, which {what} cannot: {why}. Use `joining: grid-shift`, `average` or `independent`, without"
                " `cascade` and `skip_background`, or a model of pixels"
            )
    if level.constraint.of_pixels:
        raise ValueError(
            f"{draws}, where the average of pixels that `{level.constraint.kind}` holds means nothing: use `lowres`, `context`"
            " or `none`, or a model of pixels"
        )
    if level.start:
        raise ValueError(
            f"{draws}, and a latent depends on pixels around it, so that tiles would start apart: no `start`"
        )
    if level.sampler.threshold:
        raise ValueError(f"{draws}: a threshold keeps pictures in their range, and latents have none; leave it out")
    height, width = level.size_px or (0, 0)
    for name, length in (("height", height), ("width", width), ("stride_px", level.stride_px)):
        over = length % model.latent_px
        if over:
            raise ValueError(
                f"{draws}, {model.latent_px} px to a latent: {name} {length} is not a multiple of {model.latent_px}; use"
                f" {length - over} or {length - over + model.latent_px}"
            )


def check_network(
    level: Level, n: int, model: Model, mpps: list[float], context_ratio: float | None, ratio: float | None
) -> None:
    """Raises ValueError where a model cannot be the n-th network that draws a level's tiles.

    mpps, context_ratio: of the patches that it learned from; ratio: of the level above's mpp to this one's (None: level 0).
    The message says what the model does, and lacks its name.
    """
    network, networks = level.networks[n], level.networks
    check_steps(network.sampler, model)
    check_size(network.tile_px, model)
    check_noise(
        first_sigma(level, n),
        model,
        "start from the level above at most there (`start: {sigma: ...}`), or set sampler.sigma_max",
    )
    if model.autoencoder:
        check_latent(level, model)
    if network.tile_px % model.size_multiple_px:
        raise ValueError(
            f"takes multiples of {model.size_multiple_px} px: tile_px {network.tile_px} is not a multiple of"
            f" {model.size_multiple_px}"
        )
    mpp = level.mpp * level.tile_px / network.tile_px
    if not learns(mpp, mpps):
        raise ValueError(f"learns mpps {mpps} and never sees {mpp:g}")
    factor = network.tile_px // networks[n - 1].tile_px if n else None
    if "lowres" in level.constraint.conditions:
        factor = round(ratio)
    if model.lowres_factor != factor:
        told = (
            f"a picture at 1/{model.lowres_factor} of its resolution" if model.lowres_factor else "no smaller picture"
        )
        there = f"one at 1/{factor}" if factor else "none"
        raise ValueError(f"has learned with {told} beside its own, but here there is {there}; set lowres_factor alike")
    check_lowres_noise(level.lowres_noise, model)
    wide = "context" in level.constraint.conditions
    if wide != ("context" in model.conditions):
        raise ValueError(
            "does not see the context that the level's constraint shows; give it the condition `context`, or the level"
            " `constraint: none`"
            if wide
            else "wants a context; give the level `constraint: context`"
        )
    if wide and not math.isclose(context_ratio, ratio, rel_tol=1e-3):
        raise ValueError(
            f"has learned with a view {context_ratio:g} times as wide, but the level above is {ratio:g} times as coarse; set"
            " context_ratio to that"
        )


def check_sample_network(
    model: Model, px: int, sampler: Sampler, before: int | None, lowres_noise: float = 0.0
) -> None:
    """Raises ValueError where a model cannot draw samples of px x px, beside a picture of `before` px (None: from noise alone)
    that has so much noise. The message lacks the model's name.
    """
    if not model.denoises:
        raise ValueError(f"({model.network.kind}) draws nothing from noise")
    check_steps(sampler, model)
    check_size(px, model)
    check_noise(sampler.sigma_max, model, "samples begin with noise alone: train it without that limit")
    if "context" in model.conditions:
        raise ValueError("is told pictures, which only a level of a slide has: a wider view")
    factor = px // before if before else None
    if before and (px % before or px == before):
        raise ValueError(f"enlarges {before} px to {px} px, which is no multiple of them")
    if model.lowres_factor != factor:
        here = f"here there is one at 1/{factor}" if factor else "here there is none, which a `cascade` would give"
        told = f"one at 1/{model.lowres_factor} of its resolution" if model.lowres_factor else "none"
        raise ValueError(f"is told pictures: it has learnt beside {told}, and {here}")
    check_lowres_noise(lowres_noise, model)
    if px % model.size_multiple_px:
        raise ValueError(f"takes multiples of {model.size_multiple_px} px: size_px {px} is not a multiple")
