"""What is made of a model's estimates before a sampler takes them: guidance, classifier-free or by a weaker model, and epsilon
scaling.

All are affine in eps = (x - D) / sigma, so they are written for the estimate D of the clean image: any objective will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from histogenesis.core.errors import BadInput
from histogenesis.models.conditions import alpha_bar, noise_level_of, pictures_of
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.latent import PREFIX
from histogenesis.models.options import Options

Estimate = Callable[..., Tensor]  # D(x_bchw, sigma_b, mpp_b, **cond)


@dataclass(frozen=True)
class OfClass:
    """The estimate of a model that is told one class."""

    model: Denoiser
    index: int

    def __call__(self, x_bchw: Tensor, sigma_b: Tensor, mpp_b: Tensor, **cond: Tensor) -> Tensor:
        of_class = torch.full((len(x_bchw),), self.index, device=x_bchw.device)
        return self.model(x_bchw, sigma_b, mpp_b, label_b=of_class, **cond)


@dataclass(frozen=True)
class Guided:
    """(1 + w) D - w D0: an estimate D, led away from a poorer one of the same x.

    D0 is that of the same model without its class (Ho and Salimans 2022, eq. 6, whose eps it is for D), or that of a weaker
    model (Karras et al. 2024, "Guiding a diffusion model with a bad version of itself", eq. 3, whose w is this one plus 1).
    `conditional` is D alone: one evaluation in place of two.
    """

    conditional: Estimate
    poorer: Estimate
    w: float

    def __call__(self, x_bchw: Tensor, sigma_b: Tensor, mpp_b: Tensor, **cond: Tensor) -> Tensor:
        conditional = self.conditional(x_bchw, sigma_b, mpp_b, **cond)
        if self.w == 0:
            return conditional
        return conditional + self.w * (conditional - self.poorer(x_bchw, sigma_b, mpp_b, **cond))


def guide(model: Denoiser, label: str | None = None, w: float = 0.0, weaker: Denoiser | None = None) -> Estimate:
    """The model, told a class (None: none), and guided by w: away from itself without the class, or from a weaker model.

    Raises BadInput for a class that a model has not learnt, and for a weaker one that is shown other pictures.
    """
    if weaker is not None:
        poorer = of_class(weaker, label if weaker.classes else None)
        return Guided(of_class(model, label), in_units_of(model, weaker, poorer), w)
    return model if label is None else Guided(of_class(model, label), model, w)


def in_units_of(model: Denoiser, weaker: Denoiser, poorer: Estimate) -> Estimate:
    """The weaker model's estimate of the same x, in the units of the model that it guides.

    Both units are affine in the pixels' values, and noise is white in either, so that this is exact; also of the pictures that
    both are shown. Raises BadInput where the two do not answer the same question.
    """
    own, other = model.normalisation, weaker.normalisation
    alike = (own.mean, own.std, own.sigma_data) == (other.mean, other.std, other.sigma_data)
    for what, mine, its in (
        ("conditions", {*model.conditions} - {"label"}, {*weaker.conditions} - {"label"}),
        ("autoencoder", first_stage(model), first_stage(weaker)),
        ("mean or spread of the pixels", True, alike or not model.frozen_weights()),
    ):
        if mine != its:
            raise BadInput(
                f"the weaker model has not the same {what} as the model that it guides: let one start from the other"
                " (training.start), or train both on the same patches"
            )
    if alike:
        return poorer
    scale = own.std / own.sigma_data * other.sigma_data / other.std

    def converted(x_bchw: Tensor, sigma_b: Tensor, mpp_b: Tensor, **cond: Tensor) -> Tensor:
        if "cond_image_bchw" in cond:
            shift = other.encode(own.decode(torch.zeros_like(x_bchw[:, :, :1, :1])))
            cond = cond | _convert_cond(pictures_of(model.conditions), scale, shift, **cond)
        return own.encode(other.decode(poorer(other.encode(own.decode(x_bchw)), sigma_b * scale, mpp_b, **cond)))

    return converted


def _convert_cond(
    names: list[str],
    scale: float,
    shift_bc11: Tensor,
    cond_image_bchw: Tensor,
    lowres_noise_b: Tensor | None = None,
    **_: Tensor,
) -> dict[str, Tensor]:
    """The pictures that a model is shown, in units in which a pixel p is `scale` p + `shift`.

    A low-resolution picture is sqrt(a) p + sqrt(1 - a) noise, and becomes sqrt(a) (scale p + shift) + scale sqrt(1 - a) noise.
    Over q it is one of another level again, of a' = a / q^2, where q^2 = a + scale^2 (1 - a).
    """
    images, noise_level = [], {}
    for name, picture in zip(names, cond_image_bchw.chunk(len(names), dim=1)):
        if name == "lowres" and lowres_noise_b is not None:
            signal = alpha_bar(lowres_noise_b)
            q2 = signal + scale**2 * (1 - signal)
            shifted = scale * picture + signal.sqrt()[:, None, None, None] * shift_bc11
            images.append(shifted / q2.sqrt()[:, None, None, None])
            noise_level = {"lowres_noise_b": noise_level_of(signal / q2)}
        else:
            images.append(scale * picture + shift_bc11)
    return {"cond_image_bchw": torch.cat(images, dim=1), **noise_level}


def first_stage(model: Denoiser) -> str:
    """What tells the latent spaces of two models apart: a digest of the autoencoder's weights; "none": pixels."""
    weights = [w.cpu() for name, w in sorted(model.frozen_weights().items()) if name.startswith(PREFIX)]
    return hashlib.sha256(b"".join(w.float().numpy().tobytes() for w in weights)).hexdigest() if weights else "none"


def of_class(model: Denoiser, label: str | None) -> Denoiser | OfClass:
    if label is None:
        return model
    if label not in model.classes:
        there = ", ".join(model.classes) or "none: it was trained without the condition `label`"
        raise BadInput(f"the model has not learnt class {label!r}; its classes are {there}")
    return OfClass(model, model.classes.index(label))


def at_sigma(denoise: Callable[..., Tensor], sigmas: tuple[float, float] | None, sigma: float) -> Callable[..., Tensor]:
    """What is asked at one noise level: guided in the interval (low, high] alone (Kynkäänniemi et al. 2024, eq. 6)."""
    if not isinstance(denoise, Guided) or sigmas is None or sigmas[0] < sigma <= sigmas[1]:
        return denoise
    return denoise.conditional


def scale_epsilon(denoised: Tensor, x: Tensor, sampler: Options, step: int) -> Tensor:
    """Epsilon scaling (Ning et al. 2024, ICLR, eq. 12): eps / lambda_t, lambda_t = k t + b; lambda_t = 1 changes nothing.

    step: of the sampler, from 0; t counts the steps that are left, from `steps` down to 1.
    """
    if sampler.epsilon_scaling is None:
        return denoised
    scale = sampler.epsilon_scaling.k * (sampler.steps - step) + sampler.epsilon_scaling.b
    return denoised if scale == 1 else x - (x - denoised) / scale
