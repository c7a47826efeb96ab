"""What a network predicts and which noise levels it learns: each objective turns a network F into a denoiser D(x; sigma).

Whatever the objective of a denoiser, D takes x = image + sigma * noise, so that every sampler works with every objective.
SuperResolution is that of a baseline, which no sampler takes.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from histogenesis.models.options import Options
from histogenesis.models.schedules import schedule_sigmas


class Scalings(NamedTuple):
    """D(x; sigma) = skip * x + out * F(into * x; noise)."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


class EDM:
    """Karras et al. 2022, table 1; Harb et al. 2024, supplement eqs. 24-27."""

    sigmas = None  # it has no schedule of steps
    loss = "mse"

    def __init__(
        self,
        sigma_data: float,
        p_mean: float,
        p_std: float,
        sigma_min: float | None = None,
        sigma_limit: float | None = None,
    ):
        self.sigma_data, self.p_mean, self.p_std = sigma_data, p_mean, p_std
        self.sigma_range = sigma_min, sigma_limit

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

    def sample_sigma(self, normal: Tensor) -> Tensor:
        """Standard normal numbers -> training noise levels: ln sigma ~ N(p_mean, p_std^2), clamped to the trained range.

        What lies beyond it gathers at its ends: at the upper one every drawing begins.
        """
        sigma = torch.exp(normal * self.p_std + self.p_mean)
        return sigma if self.sigma_range == (None, None) else sigma.clamp(*self.sigma_range)


class Flow(EDM):
    """The picture, by the error of the flow's velocity: x-prediction with v-loss, as Li and He 2025 train.

    Their z = t * image + (1 - t) * noise is x / (1 + sigma) at t = 1 / (1 + sigma), which the network is told; logit t is
    normal there, and so is ln sigma = -logit t. Velocities are (z - image) / (1 - t), with 1 - t never less than `SHARE_LIMIT`.
    """

    SHARE_LIMIT = 0.05  # of noise in z

    def scalings(self, sigma: Tensor) -> Scalings:
        t = 1 / (1 + sigma)
        return Scalings(skip=torch.zeros_like(sigma), out=torch.ones_like(sigma), into=t, noise=t)

    def weight(self, sigma: Tensor) -> Tensor:
        """What the squared error of the picture counts, so that the plain loss on the velocity results."""
        return (sigma / (1 + sigma)).clamp(min=self.SHARE_LIMIT) ** -2


class Prediction(nn.Module):
    """The noise eps, the velocity v or the picture x0, at T noise levels: Ho et al. 2020; Salimans and Ho 2022, appendix D.

    The network sees x_t = x / sqrt(1 + sigma^2), which has the variance of the schedule's forward process, and is told the
    step t (of 1000; between two steps of the schedule it is interpolated in ln sigma), or ln(alpha_bar / (1 - alpha_bar)).
    """

    table: Tensor
    log_sigma: Tensor

    def __init__(
        self,
        kind: str,
        schedule: str | Options = "cosine",
        timesteps: int = 1000,
        min_snr: float | None = None,
        loss: str = "mse",
        noise_cond: str = "step",
    ):
        super().__init__()
        self.kind, self.min_snr, self.loss, self.noise_cond = kind, min_snr, loss, noise_cond
        self.sigmas = schedule_sigmas(schedule, timesteps)
        self.sigma_range = self.sigmas[0], self.sigmas[-1]
        # On the model's device: a table that had to be sent there would be waited for in each evaluation.
        table = torch.tensor(self.sigmas, dtype=torch.float64)
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("log_sigma", table.log(), persistent=False)

    def scalings(self, sigma: Tensor) -> Scalings:
        total = 1 + sigma**2
        ones = torch.ones_like(sigma)
        skip, out = {
            "eps": (ones, -sigma),
            "v": (1 / total, -sigma / total.sqrt()),
            "x0": (torch.zeros_like(sigma), ones),
        }[self.kind]
        return Scalings(skip, out, 1 / total.sqrt(), self.c_noise(sigma))

    def c_noise(self, sigma: Tensor) -> Tensor:
        if self.noise_cond == "log-snr":
            return -2 * sigma.log()
        return 1000 / len(self.sigmas) * self.timestep(sigma).to(sigma.dtype)

    def timestep(self, sigma: Tensor) -> Tensor:
        """t (1 to T) at which the schedule has this noise; float64."""
        table = self.log_sigma
        log_sigma = sigma.double().log().clamp(table[0], table[-1])
        above = torch.searchsorted(table, log_sigma.contiguous()).clamp(1, len(table) - 1)
        share = (log_sigma - table[above - 1]) / (table[above] - table[above - 1])
        return above + share

    def weight(self, sigma: Tensor) -> Tensor:
        """What the squared error of D counts, so that the plain loss on eps, v or x0 results; signal-to-noise is 1 / sigma^2.

        With `min_snr` the weight is min(1 / sigma^2, gamma) whatever is predicted (Hang et al. 2023, eq. 7 and section 3.4).
        """
        snr = 1 / sigma**2
        if self.min_snr is not None:
            return snr.clamp(max=self.min_snr)
        return {"eps": snr, "v": snr + 1, "x0": torch.ones_like(snr)}[self.kind]

    def sample_sigma(self, normal: Tensor) -> Tensor:
        """Standard normal numbers -> training noise levels: t is uniform among 1 to T."""
        uniform = 0.5 * (1 + torch.erf(normal.double() / math.sqrt(2)))
        t = (uniform * len(self.sigmas)).long().clamp(0, len(self.sigmas) - 1)
        return self.table[t].to(normal.dtype)


class SuperResolution:
    """The picture from its own average over 2 x 2 pixels: no noise, mean absolute error (Lim et al. 2017)."""

    factor = 2

    def sample_sigma(self, normal: Tensor) -> Tensor:
        return torch.zeros_like(normal)


def make_objective(options: Options) -> EDM | Prediction:
    """The denoiser's objective of that `kind`, with its options."""
    return OBJECTIVES[options.kind](options)


OBJECTIVES: dict[str, Callable[[Options], EDM | Prediction]] = {
    "edm": lambda options: EDM(**options.without("kind")),
    "flow": lambda options: Flow(**options.without("kind")),
    **dict.fromkeys(("eps", "v", "x0"), lambda options: Prediction(**vars(options))),
}
