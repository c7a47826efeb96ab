"""Drawing patches: a model and a sampler in, pictures of each class out, batch by batch.

A picture's noise is keyed by (seed, class, its number), so that the batch does not change it, models with one seed start from
the same noise, and a drawing that was stopped goes on with the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from histogenesis.core.arrays import Broken, load_proven, save_proven
from histogenesis.core.interrupt import Stopped
from histogenesis.core.noise import normal
from histogenesis.models.conditions import add_noise, enlarge
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.options import Options
from histogenesis.sampling.estimate import estimator
from histogenesis.sampling.guidance import guide
from histogenesis.sampling.solvers import solve, solver_evaluations, takes


@torch.inference_mode()
def sample_batch(
    models: Sequence[Denoiser],
    section: Options,
    label: str | None,
    numbers: range,
    size_px: int,
    mpp: float,
    device: str,
) -> np.ndarray:
    """Pictures `numbers` of one class: uint8 (n, size_px, size_px, 3). The batch is padded to the recipe's.

    models: of the cascade, if there is one, from the smallest on, and the one that decides.
    """
    keys = [*numbers, *[numbers[-1]] * (section.batch - len(numbers))]
    sizes = [*((stage.tile_px, stage.sampler) for stage in section.cascade), (size_px, section.sampler)]
    lowres = None
    for model, (px, sampler) in zip(models, sizes, strict=True):
        shape, of = (model.channels, *(2 * [px // model.factor])), () if px == size_px else (px,)

        def noise(purpose: str, step: int, resample_index: int, shape=shape, of=of) -> torch.Tensor:
            more = of if purpose == "fresh" else (*of, purpose)
            sampled = {k: normal(shape, "patches", section.seed, label or "", k, step, *more) for k in numbers}
            return torch.from_numpy(np.stack([sampled[k] for k in keys])).to(device)

        cond: dict[str, torch.Tensor] = {}
        if lowres is not None:
            lowres_noise_b = torch.full((len(keys),), section.lowres_noise, device=device)
            small = enlarge(model.normalisation.encode(lowres), px)
            cond = {
                "cond_image_bchw": add_noise(small, lowres_noise_b, noise("lowres", 0, 0)),
                "lowres_noise_b": lowres_noise_b,
            }
        evaluations = solver_evaluations(**sampler.solver, training_sigmas=model.objective.sigmas)
        denoise = guide(model, label, section.guidance)
        estimate = estimator(denoise, sampler, model.normalisation, mpp * size_px / px, **cond)
        x, _ = solve(noise("fresh", 0, 0) * evaluations[0].sigma, takes(evaluations), estimate, noise)
        lowres = model.to_uint8(x)
    return lowres.permute(0, 2, 3, 1).cpu().numpy()[: len(numbers)]


def sample_patches(
    models: Sequence[Denoiser],
    section: Options,
    labels: list[str | None],
    size_px: int,
    mpp: float,
    state: Path,
    device: str,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, list[str | None]]:
    """`section.images` pictures of each label, uint8 (n, size_px, size_px, 3), and the label of each.

    Each finished batch lies in `state`, so that a drawing goes on where it was stopped. Raises Stopped once stop() is true.
    """
    state.mkdir(parents=True, exist_ok=True)
    jobs = [
        (k, label, range(first, min(first + section.batch, section.images)))
        for k, label in enumerate(labels)
        for first in range(0, section.images, section.batch)
    ]
    generated = []
    for k, label, numbers in tqdm(jobs, desc="patches", unit="batch", mininterval=2):
        file = state / f"{k}-{numbers[0]:08d}.npy"
        pictures = finished(file)
        if pictures is None:
            pictures = sample_batch(models, section, label, numbers, size_px, mpp, device)
            save_proven(file, pictures)
            if stop() and (k, label, numbers) != jobs[-1]:
                raise Stopped(f"stopped on request, finished batches are in {state}")
        generated.append(pictures)
    return np.concatenate(generated), [label for _, label, numbers in jobs for _ in numbers]


def finished(file: Path) -> np.ndarray | None:
    """A batch that was drawn before, or None; one that is damaged is drawn again, and that is said."""
    try:
        return load_proven(file)
    except FileNotFoundError:
        return None
    except Broken:
        print(f"{file}: damaged batch, drawn again", flush=True)
        return None
