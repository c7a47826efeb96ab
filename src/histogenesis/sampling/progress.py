"""What a model makes while it is trained: a row of pictures for each mpp, in model units, (n, 3, p, p)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from histogenesis.core.noise import normal
from histogenesis.models.batches import Batches
from histogenesis.models.conditions import add_noise
from histogenesis.models.model import Denoiser, Upscaler
from histogenesis.models.options import ModelOptions, Options
from histogenesis.sampling.estimate import estimator
from histogenesis.sampling.guidance import guide
from histogenesis.sampling.solvers import sample, solver_evaluations

STEPS = 20
LOWRES_NOISE = 0.2
AMONG = 64  # held-out patches at most that are looked through for some with much to see


def kinds(denoiser: Denoiser, mpps: list[float]) -> list[tuple[float, str | None]]:
    """What rows of samples there are: each mpp, and at each mpp each class that the model is told."""
    return [(mpp, label) for mpp in mpps for label in denoiser.classes or [None]]


def from_noise(denoiser: Denoiser, section: Any, checks: Batches, mpps: list[float], device: str) -> list[Tensor]:
    """What a denoiser draws, beside held-out pictures where it is told some."""
    section = ModelOptions.of(section)
    options, training_sigmas = section.training, denoiser.objective.sigmas
    # A schedule's first noise levels are so high that estimates leave what pictures can be; the threshold keeps them there.
    threshold = Options(kind="dynamic", percentile=0.995) if training_sigmas and not section.autoencoder else None
    limit = None if training_sigmas else denoiser.objective.sigma_range[1]
    solver, n = (
        solver_evaluations("dpmpp-2m", STEPS, training_sigmas=training_sigmas, start=limit),
        options.sample_images,
    )
    sampler = Options(threshold=threshold, guided_sigmas=None, epsilon_scaling=None)
    px, rows = options.crop_px or checks.patches.patch_px, []
    side = px // denoiser.factor
    for mpp, label in kinds(denoiser, mpps):
        cond = {name: value.to(device) for name, value in cond_of(checks, mpp, n, px, options.seed).items()}
        if "cond_image_bchw" in cond:
            cond["cond_image_bchw"] = denoiser.to_latent(cond["cond_image_bchw"])
        estimate = estimator(guide(denoiser, label), sampler, denoiser.normalisation, mpp, **cond)
        noise = torch.from_numpy(normal((n, denoiser.channels, side, side), "samples", options.seed)).to(device)
        if limit:
            noise = noise + above(denoiser, checks, mpp, n, px).to(device) / solver[0].sigma
        rows.append(sample(estimate, noise, solver))
    return rows


def above(denoiser: Denoiser, checks: Batches, mpp: float, n: int, px: int) -> Tensor:
    """Held-out patches as a level above shows them (their average over 2 x 2 px, enlarged): (n, channels, h, w).

    A model that has not learnt the highest noise always starts from there, so its samples do.
    """
    patches = nearest(checks, mpp, n)[0][..., :px, :px]
    return denoiser.to_latent(interpolate(avg_pool2d(patches, 2), scale_factor=2.0))


def cond_of(checks: Batches, mpp: float, n: int, px: int, seed: int) -> dict[str, Tensor]:
    """The pictures beside n held-out patches (their top left px), not encoded: the denoiser's keywords."""
    if not checks.pictures:
        return {}
    cond_images, cond = [picture[..., :px, :px] for picture in checks.beside(*nearest(checks, mpp, n))], {}
    if "lowres" in checks.pictures:
        cond["lowres_noise_b"] = torch.full((n,), min(LOWRES_NOISE, checks.lowres_noise_limit))
        noise = torch.from_numpy(normal(tuple(cond_images[0].shape), "lowres", seed))
        cond_images[0] = add_noise(cond_images[0], cond["lowres_noise_b"], noise)
    return cond | {"cond_image_bchw": torch.cat(cond_images, dim=1)}


def nearest(checks: Batches, mpp: float, n: int) -> tuple[Tensor, list[int]]:
    """n held-out patches of the mpp (the nearest there is; repeated if they are few), in model units, and their rows.

    Of AMONG that lie evenly among all, those with most to see: the first ones of a slide may be its pale edge.
    """
    there = np.unique(checks.patches.mpp)
    rows_there = checks.by_mpp[np.abs(there - mpp).argmin()]
    some = rows_there[np.unique(np.linspace(0, len(rows_there) - 1, max(AMONG, n)).astype(int))].tolist()
    images = checks.encoded(checks.patches.read(some))
    order = images.std(dim=(1, 2, 3)).argsort(descending=True, stable=True)
    rows = torch.from_numpy(np.resize(order.numpy(), n))
    return images[rows], [some[row] for row in rows.tolist()]


def enlarged(upscaler: Upscaler, section: Any, checks: Batches, mpps: list[float], device: str) -> list[Tensor]:
    """Held-out patches, made by an upscaler from their average over 2 x 2 px."""
    generated = [nearest(checks, mpp, ModelOptions.of(section).training.sample_images)[0].to(device) for mpp in mpps]
    return [upscaler(avg_pool2d(image, upscaler.objective.factor)) for image in generated]


def reconstructed(
    autoencoder: nn.Module, section: Any, checks: Batches, mpps: list[float], device: str
) -> list[Tensor]:
    """Held-out patches after an autoencoder."""
    return [
        autoencoder(nearest(checks, mpp, ModelOptions.of(section).training.sample_images)[0].to(device)) for mpp in mpps
    ]


SAMPLES = {"super-resolution": enlarged, "autoencoder": reconstructed}  # denoisers: from noise
