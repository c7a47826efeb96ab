"""Sampling with known pixels: they are held through the whole reverse process (RePaint, Lugmayr et al. 2022, algorithm 1).

After every evaluation the known pixels are put in their place, noised to the level that the others have reached. With r > 1
every step is taken r times: between, as much noise is added to all pixels as leads back to where the step began, so that
the unknown ones can come to terms with the known ones.
"""

import math
from collections.abc import Callable
from itertools import groupby

import torch
from torch import Tensor

from histogenesis.sampling.solvers import Stage

Noise = Callable[[str, int, int], Tensor]


def sample_held(
    denoise: Callable[[Tensor, Stage], Tensor],
    stage_list: list[Stage],
    known: Tensor,
    mask: Tensor,
    noise: Noise,
    resample: int = 1,
    start: Tensor | None = None,
) -> Tensor:
    """Draw pictures whose pixels under `mask` are those of `known`, exactly.

    known (B, 3, H, W), mask (B, 1, H, W) bool; `denoise(x, stage)` estimates the clean pictures; `noise(purpose, step, draw)`
    is standard normal, of known's shape, a different one for each purpose: `fresh` (the start, and what a stochastic
    sampler adds), `held` (on the known pixels), `back` (between two takes of a step). `start`: clean pictures that the drawing
    begins from, noised; None: noise alone.
    """
    levels = [*(stage.sigma for stage in stage_list[1:]), 0.0]  # that x has reached after each stage
    x = noise("fresh", 0, 0) * stage_list[0].sigma
    x = hold(x if start is None else start + x, known, mask, stage_list[0].sigma, noise, 0, 0)
    memory = None
    for step, group in groupby(enumerate(stage_list), key=lambda one: one[1].step):
        numbered = list(group)
        begin, end = numbered[0][1].sigma, levels[numbered[-1][0]]
        remembered = memory
        takes = resample if end > 0 else 1  # at the last step the pictures are clean, and there is nothing to add to
        for draw in range(takes):
            if draw:
                x = x + math.sqrt(begin**2 - end**2) * noise("back", step + 1, draw)
                memory = remembered
            for n, stage in numbered:
                x, memory = stage.update(x, denoise(x, stage), memory)
                if stage.fresh:
                    x = x + stage.fresh * noise("fresh", n + 1, draw)
                x = hold(x, known, mask, levels[n], noise, step + 1, draw)
    return x


def hold(x: Tensor, known: Tensor, mask: Tensor, sigma: float, noise: Noise, step: int, draw: int) -> Tensor:
    """x with the known pixels in their place, at noise level sigma."""
    if not mask.any():
        return x
    return torch.where(mask, known + sigma * noise("held", step, draw) if sigma else known, x)
