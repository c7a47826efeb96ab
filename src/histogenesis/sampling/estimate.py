"""The one chain from a model's answer to a solver's estimate of the clean image: guide, scale epsilon, threshold. What a
level's constraint makes of it comes after (canvas/engine.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from histogenesis.sampling.guidance import at_sigma, scale_epsilon
from histogenesis.sampling.threshold import apply_threshold

if TYPE_CHECKING:
    from histogenesis.models.normalisation import Normalisation
    from histogenesis.models.options import Options
    from histogenesis.sampling.solvers import Evaluation


def estimator(
    denoise: Callable[..., Tensor],
    sampler: Options,
    normalisation: Normalisation,
    mpp: float,
    **cond: Tensor,
) -> Callable[[Tensor, Evaluation], Tensor]:
    """What `solve` asks: (x (B, C, h, w), evaluation) -> the estimate, of the same shape.

    denoise(x, sigma_b, mpp_b, **cond) is the model, guided (see sampling/guidance.py).
    """

    def estimate(x: Tensor, evaluation: Evaluation) -> Tensor:
        sigma_b = torch.full((len(x),), evaluation.sigma, device=x.device)
        mpp_b = torch.full((len(x),), mpp, device=x.device)
        asked = at_sigma(denoise, sampler.guided_sigmas, evaluation.sigma)
        denoised = scale_epsilon(asked(x, sigma_b, mpp_b, **cond), x, sampler, evaluation.step)
        return apply_threshold(denoised, sampler.threshold, normalisation)

    return estimate
