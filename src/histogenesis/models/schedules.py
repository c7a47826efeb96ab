"""Noise schedules of T discrete steps: how much of the picture is left at step t of the forward process.

x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps (Ho et al. 2020, eq. 4). Divided by sqrt(alpha_bar_t) this is
x_0 + sigma_t eps with sigma_t^2 = (1 - alpha_bar_t) / alpha_bar_t: the form in which all samplers here work.
"""

import math

import numpy as np

LARGEST_BETA = 0.999


def betas(kind: str, timesteps: int) -> np.ndarray:
    """beta_1 to beta_T, float64.

    `linear`: from 1e-4 to 0.02 over 1000 steps (Ho et al. 2020, section 4), scaled so that T steps destroy as much.
    `cosine`: 1 - f(t) / f(t - 1), f(t) = cos^2((t / T + s) / (1 + s) pi / 2), s = 0.008 (Nichol and Dhariwal 2021, eq. 17).
    """
    if kind == "linear":
        scale = 1000 / timesteps
        found = np.linspace(scale * 1e-4, scale * 0.02, timesteps)
    else:
        f = np.cos((np.arange(timesteps + 1) / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2
        found = 1 - f[1:] / f[:-1]
    return np.minimum(found, LARGEST_BETA)


def alpha_bars(kind: str, timesteps: int) -> np.ndarray:
    """alpha_bar_1 to alpha_bar_T: the product of 1 - beta up to t, float64, falling."""
    return np.cumprod(1 - betas(kind, timesteps))


def schedule_sigmas(kind: str, timesteps: int) -> list[float]:
    """sigma_1 to sigma_T, rising."""
    kept = alpha_bars(kind, timesteps)
    return np.sqrt((1 - kept) / kept).tolist()


def spaced(learned: list[float], steps: int) -> list[float]:
    """`steps` of a schedule's noise levels, evenly spaced in t from T down to 1, then 0."""
    if steps > len(learned):
        raise ValueError(f"{steps} sampler steps, but the model's schedule has {len(learned)}: use at most as many")
    t = np.linspace(len(learned), 1, steps).round().astype(int)
    return [learned[i - 1] for i in t] + [0.0]
