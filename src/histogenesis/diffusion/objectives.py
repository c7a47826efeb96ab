"""What a network predicts and which noise levels it learns: each objective turns a network F into a denoiser D(x; sigma).

Whatever the objective of a denoiser, D takes x = image + sigma * noise, so that every sampler works with every objective.
SuperResolution is that of a baseline, which no sampler takes.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Scalings(NamedTuple):
    """D(x; sigma) = skip * x + out * F(into * x; noise)."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


class EDM:
    """Karras et al. 2022, table 1; Harb et al. 2024, supplement eqs. 24-27."""

    def __init__(self, sigma_data: float, p_mean: float, p_std: float):
        self.sigma_data, self.p_mean, self.p_std = sigma_data, p_mean, p_std

    def scalings(self, sigma: Tensor) -> Scalings:
        total = sigma**2 + self.sigma_data**2
        return Scalings(
            skip=self.sigma_data**2 / total,
            out=sigma * self.sigma_data / total.sqrt(),
            into=1 / total.sqrt(),
            noise=sigma.log() / 4,
        )

    def weight(self, sigma: Tensor) -> Tensor:
        """lambda(sigma), eq. 27."""
        return 1 / sigma**2 + 1 / self.sigma_data**2

    def draw_sigma(self, normal: Tensor) -> Tensor:
        """Standard normal numbers -> training noise levels: ln sigma ~ N(p_mean, p_std^2)."""
        return torch.exp(normal * self.p_std + self.p_mean)


class SuperResolution:
    """The picture from its own average over 2 x 2 pixels: no noise, mean absolute error (Lim et al. 2017)."""

    factor = 2

    def draw_sigma(self, normal: Tensor) -> Tensor:
        return torch.zeros_like(normal)


def karras_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float) -> list[float]:
    """`steps` noise levels from sigma_max down to sigma_min, then 0 (Karras et al. 2022, eq. 5)."""
    if steps == 1:
        return [sigma_max, 0.0]
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [(high + i / (steps - 1) * (low - high)) ** rho for i in range(steps)] + [0.0]
