"""ODE solvers, written as lists of pointwise stages.

A stage says at which noise level the denoiser is asked, and how the answer changes the pixels. Nothing in it looks at a
neighbouring pixel, so one and the same sampler runs on a batch of patches in memory and on a canvas that is larger than
memory, tile by tile; and a drawing can stop and go on between any two tiles.
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from histogenesis.diffusion.objectives import karras_sigmas


class Stage(NamedTuple):
    """One network evaluation at noise level `sigma`, within sampler step `step`.

    `update(x, denoised, memory)` gives the next x and memory; `remembers` says whether the next stage needs the latter.
    """

    step: int
    sigma: float
    remembers: bool
    update: Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def stages(kind: str, steps: int, sigma_min: float, sigma_max: float, rho: float) -> list[Stage]:
    """The stages of sampler `kind` over the noise levels of Karras et al."""
    return SAMPLERS[kind](karras_sigmas(steps, sigma_min, sigma_max, rho))


def sample(denoise: Callable[[Tensor, float], Tensor], noise_bchw: Tensor, stage_list: list[Stage]) -> Tensor:
    """Draw images from standard normal noise; `denoise(x, sigma)` estimates the clean image."""
    x, memory = noise_bchw * stage_list[0].sigma, None
    for stage in stage_list:
        x, memory = stage.update(x, denoise(x, stage.sigma), memory)
    return x


def euler(sigmas: list[float]) -> list[Stage]:
    """First order: x' = x + (s' - s) (x - D) / s."""

    def step(s, s_next):
        return lambda x, denoised, memory: (x + (s_next - s) / s * (x - denoised), None)

    return [Stage(i, s, False, step(s, s_next)) for i, (s, s_next) in enumerate(pairwise(sigmas))]


def heun(sigmas: list[float]) -> list[Stage]:
    """Second order, Karras et al. 2022, algorithm 1: an Euler step, then the trapezoid; the last step to 0 is Euler's.

    The first half of a step leaves x + (s' - s) d / 2 in memory, which is all that the second half needs of it.
    """

    def predict(s, s_next):
        def update(x, denoised, memory):
            slope = (x - denoised) / s
            return x + (s_next - s) * slope, x + (s_next - s) / 2 * slope

        return update

    def correct(s, s_next):
        return lambda x, denoised, memory: (memory + (s_next - s) / 2 / s_next * (x - denoised), None)

    result = []
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        if s_next == 0:
            result.append(euler([s, s_next])[0]._replace(step=i))
        else:
            result += [Stage(i, s, True, predict(s, s_next)), Stage(i, s_next, False, correct(s, s_next))]
    return result


def dpmpp_2m(sigmas: list[float]) -> list[Stage]:
    """DPM-Solver++(2M), Lu et al. 2022, algorithm 2 in its data-prediction form with lambda = -ln sigma.

    Memory holds the previous estimate D. First and last step are of first order.
    """

    def step(s_before, s, s_next):
        if s_next == 0:
            return lambda x, denoised, memory: (denoised, None)
        h = math.log(s / s_next)
        share = 0.0 if s_before is None else h / (2 * math.log(s_before / s))

        def update(x, denoised, memory):
            estimate = denoised if memory is None else denoised + share * (denoised - memory)
            return s_next / s * x - math.expm1(-h) * estimate, denoised

        return update

    before = [None, *sigmas]
    return [Stage(i, s, s_next > 0, step(before[i], s, s_next)) for i, (s, s_next) in enumerate(pairwise(sigmas))]


SAMPLERS = {"euler": euler, "heun": heun, "dpmpp-2m": dpmpp_2m}


def evaluations(kind: str, steps: int) -> int:
    """Network evaluations per pixel (NFE)."""
    return 2 * steps - 1 if kind == "heun" else steps


def release_sigma(sigmas: list[float], last_steps: int) -> float:
    """The noise level at and below which steps run free, for "the last r steps run free".

    Raises ValueError where r would free every step: then the level would not depend on the one above at all.
    """
    steps = len(sigmas) - 1
    if last_steps >= steps:
        raise ValueError(f"relaxation of {last_steps} steps frees all {steps} steps; use at most {steps - 1}")
    return sigmas[steps - last_steps] if last_steps else 0.0
