"""Noise schedules of T discrete steps: how much of the picture is left at step t of the forward process.

x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, eq. 4). Divided by sqrt(alpha_bar_t) this is
x_0 + sigma_t eps with sigma_t^2 = (1 - alpha_bar_t) / alpha_bar_t: the form in which all samplers here work.
"""

import math
from typing import Any

import numpy as np

LARGEST_BETA = 0.999


def betas(schedule: str | Any, timesteps: int) -> np.ndarray:
    """beta_1 to beta_T, float64. schedule: one of these words, or its numbers: attributes `from`, `to` and `form`.

    `linear`: from 1e-4 to 0.02 over 1000 steps (Ho et al. 2020, section 4), scaled so that T steps destroy as much.
    `cosine`: 1 - f(t) / f(t - 1), f(t) = cos^2((t / T + s) / (1 + s) pi / 2), s = 0.008 (Nichol and Dhariwal 2021, eq. 17).
    `continuous-linear`: alpha_bar = exp(-1e-4 - 10 (t / T)^2), that of imagen-pytorch (Chen et al. 2021, WaveGrad).
    The forms by numbers: `linear` and `sqrt-linear` (linear in the root: Rombach et al. 2022) from one to the other, as they
    are whatever T; `cosine`, no less than the one and no more than the other.
    """
    if not isinstance(schedule, str):
        first, last = getattr(schedule, "from"), schedule.to
        if schedule.form == "cosine":
            return cosine(timesteps).clip(first, last)
        power = 2 if schedule.form == "sqrt-linear" else 1
        return np.linspace(first ** (1 / power), last ** (1 / power), timesteps) ** power
    if schedule == "continuous-linear":
        time = np.arange(1, timesteps + 1) / timesteps
        return 1 - np.exp(np.diff(-1e-4 - 10 * time**2, prepend=0))
    if schedule == "linear":
        scale = 1000 / timesteps
        return np.linspace(scale * 1e-4, scale * 0.02, timesteps).clip(max=LARGEST_BETA)
    return cosine(timesteps).clip(max=LARGEST_BETA)


def cosine(timesteps: int) -> np.ndarray:
    f = np.cos((np.arange(timesteps + 1) / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2
    return 1 - f[1:] / f[:-1]


def alpha_bars(schedule: str | Any, timesteps: int) -> np.ndarray:
    """alpha_bar_1 to alpha_bar_T: the product of 1 - beta up to t, float64, falling."""
    return np.cumprod(1 - betas(schedule, timesteps))


def schedule_sigmas(kind: str | Any, timesteps: int) -> list[float]:
    """sigma_1 to sigma_T, rising."""
    alpha_bar = alpha_bars(kind, timesteps)
    return np.sqrt((1 - alpha_bar) / alpha_bar).tolist()


def space_timesteps(training_sigmas: list[float], steps: int) -> list[float]:
    """`steps` of a schedule's noise levels, evenly spaced in t from T down to 1, then 0."""
    if steps > len(training_sigmas):
        raise ValueError(
            f"{steps} sampler steps, but the model's schedule has {len(training_sigmas)}: use at most as many"
        )
    t = np.linspace(len(training_sigmas), 1, steps).round().astype(int)
    return [training_sigmas[i - 1] for i in t] + [0.0]
