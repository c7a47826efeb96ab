"""What is made of a model's estimates before a sampler takes them: classifier-free guidance, and epsilon scaling.

Both are affine in eps = (x - D) / sigma, so they are written for the estimate D of the clean image: any objective will do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from histogenesis.core.errors import BadInput
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.options import Options


@dataclass(frozen=True)
class Guided:
    """D(x, sigma, mpp) of one class: (1 + w) D(x; c) - w D(x) (Ho and Salimans 2022, eq. 6, whose eps it is for D).

    `conditional` is the model that is told the class, and nothing more: one evaluation in place of two.
    """

    model: Denoiser
    index: int
    w: float

    def conditional(self, x_bchw: Tensor, sigma_b: Tensor, mpp_b: Tensor, **told: Tensor) -> Tensor:
        of_class = torch.full((len(x_bchw),), self.index, device=x_bchw.device)
        return self.model(x_bchw, sigma_b, mpp_b, label_b=of_class, **told)

    def __call__(self, x_bchw: Tensor, sigma_b: Tensor, mpp_b: Tensor, **told: Tensor) -> Tensor:
        conditional = self.conditional(x_bchw, sigma_b, mpp_b, **told)
        if self.w == 0:
            return conditional
        return conditional + self.w * (conditional - self.model(x_bchw, sigma_b, mpp_b, **told))


def guided(model: Denoiser, label: str | None = None, w: float = 0.0) -> Denoiser | Guided:
    """The model, guided to a class by w; label None: the model without a class. Raises BadInput for a class that it has not
    learnt."""
    if label is None:
        return model
    if label not in model.classes:
        there = ", ".join(model.classes) or "none: it was trained without the condition `label`"
        raise BadInput(f"the model has not learnt class {label!r}; its classes are {there}")
    return Guided(model, model.classes.index(label), w)


def at_sigma(denoise: Callable[..., Tensor], sigmas: tuple[float, float] | None, sigma: float) -> Callable[..., Tensor]:
    """What is asked at one noise level: guided in the interval (low, high] alone (Kynkäänniemi et al. 2024, eq. 6)."""
    if not isinstance(denoise, Guided) or sigmas is None or sigmas[0] < sigma <= sigmas[1]:
        return denoise
    return denoise.conditional


def scaled(denoised: Tensor, x: Tensor, sampler: Options, step: int) -> Tensor:
    """Epsilon scaling (Ning et al. 2024, ICLR, eq. 12): eps / lambda_t, lambda_t = k t + b; lambda_t = 1 changes nothing.

    step: of the sampler, from 0; t counts the steps that are left, from `steps` down to 1.
    """
    if sampler.epsilon_scaling is None:
        return denoised
    scale = sampler.epsilon_scaling.k * (sampler.steps - step) + sampler.epsilon_scaling.b
    return denoised if scale == 1 else x - (x - denoised) / scale
