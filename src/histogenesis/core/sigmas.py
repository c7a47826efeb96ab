"""Noise levels as plain numbers: what recipes, samplers and objectives share, without a tensor."""

from __future__ import annotations


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float) -> list[float]:
    """`steps` noise levels from sigma_max down to sigma_min, then 0 (Karras et al. 2022, eq. 5)."""
    if steps == 1:
        return [sigma_max, 0.0]
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)] + [0.0]


def evaluations(kind: str, steps: int, resample: int = 1) -> int:
    """Network evaluations per pixel (NFE). resample: how often every step but the last is taken (RePaint)."""
    once = 2 * steps - 1 if kind == "heun" else steps
    return resample * (once - 1) + 1


def has_history(kind: str) -> bool:
    """Whether a solver's state between two evaluations is more than x: what the evaluation before has said."""
    return kind in ("heun", "dpmpp-2m")


def release_sigma(sigmas: list[float], last_steps: int) -> float:
    """The noise level at and below which steps run free, for "the last r steps run free". sigmas: of each step, then 0.

    Raises ValueError where r would free every step: then the level would not depend on the one above at all.
    """
    steps = len(sigmas) - 1
    if last_steps >= steps:
        raise ValueError(f"relaxation of {last_steps} steps frees all {steps} steps; use at most {steps - 1}")
    return sigmas[steps - last_steps] if last_steps else 0.0
