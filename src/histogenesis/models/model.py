"""A model: network + objective + conditions + weights, and its two files (model.safetensors, model.json)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from histogenesis.core.errors import BadInput
from histogenesis.core.files import sha256_of, write_json, written
from histogenesis.core.whole import found_damaged
from histogenesis.models.card import read_card
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.latent import PREFIX, Autoencoder, LatentDenoiser
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.objectives import make_objective
from histogenesis.models.options import ModelOptions
from histogenesis.models.speed import ready
from histogenesis.models.upscaler import Upscaler

MODELS = {
    "edm": Denoiser,
    "flow": Denoiser,
    "eps": Denoiser,
    "v": Denoiser,
    "x0": Denoiser,
    "super-resolution": Upscaler,
    "autoencoder": Autoencoder,
}


def build_model(
    section: Any,
    patch_px: int,
    normalisation: Normalisation,
    classes: Sequence[str] = (),
    first_stage: tuple[Autoencoder, float] | None = None,
) -> Denoiser | Upscaler | Autoencoder:
    """An untrained model. section: of a recipe, its JSON, or ModelOptions; classes: what a model that is told the label may be
    told; first_stage: the trained autoencoder in whose space it draws, and its latents' standard deviation."""
    options = ModelOptions.of(section)
    if first_stage is not None:
        return LatentDenoiser(options, patch_px, normalisation, classes, *first_stage)
    return MODELS[options.objective.kind](options, patch_px, normalisation, classes)


def save_model(
    folder: Path, weights: dict[str, Tensor], section: Any, normalisation: Normalisation, **metadata: Any
) -> None:
    """Write model.safetensors and model.json; each appears whole or not at all. section: as for `build_model`."""
    options = ModelOptions.of(section)
    with written(folder / "model.safetensors") as part:
        save_file({k: v.contiguous().cpu() for k, v in weights.items()}, part)
        digest = sha256_of(part)
    description = {
        "network": options.values["network"],
        "objective": options.values["objective"],
        "conditions": list(options.conditions),
        "normalisation": {"mean": normalisation.mean, "std": normalisation.std},
        "sigma_data": normalisation.sigma_data,
        "training_sigmas": training_sigmas(options),
        "parameters": sum(v.numel() for v in weights.values()),
        "section": options.values,
        "weights_sha256": digest,
        **metadata,
    }
    write_json(folder / "model.json", description, indent=2, sort_keys=True)


def training_sigmas(options: ModelOptions) -> list[float | None]:
    """The least and the largest noise level that a model learns; null for no bound."""
    return list(make_objective(options.objective).sigma_range) if options.denoises else [None, None]


def load_model(
    folder: Path, device: str = "cpu", precision: str = "fp32", fast: bool | None = None
) -> Denoiser | Upscaler | Autoencoder:
    """Read a model's two files, ready to draw (models.speed); raises BadInput where they are missing, damaged or do not fit."""
    try:
        description = read_card(folder)
        if description.get("weights_sha256", "") not in ("", sha256_of(folder / "model.safetensors")):
            found_damaged(folder / "model.safetensors", "other weights than model.json says")
        weights = load_file(folder / "model.safetensors", device=device)
    except SafetensorError as error:
        found_damaged(folder / "model.safetensors", str(error))
    except FileNotFoundError as error:
        raise BadInput(f"{folder}: no trained model there ({Path(error.filename or '').name} is missing)") from None
    normalisation = Normalisation(**description["normalisation"], sigma_data=description["sigma_data"])
    first_stage, weights = first_stage_of(description, weights)
    model = build_model(
        description["section"], description["patch_px"], normalisation, description.get("classes", ()), first_stage
    )
    model = model.to(device)
    try:
        model.network.load_state_dict(weights)
    except RuntimeError:
        raise BadInput(f"{folder}: model.safetensors holds another network than model.json says; train again") from None
    return ready(model, device, precision, fast)


def first_stage_of(description: dict, weights: dict[str, Tensor]) -> tuple[tuple[Autoencoder, float] | None, dict]:
    """The autoencoder that lies in a model's file, with its latents' spread; and the weights of the model itself."""
    card = description.get("autoencoder")
    if not card:
        return None, weights
    first_stage = Autoencoder(card["section"], card["patch_px"], Normalisation.unit())
    first_stage.network.load_state_dict({k.removeprefix(PREFIX): w for k, w in weights.items() if k.startswith(PREFIX)})
    own = {k: w for k, w in weights.items() if not k.startswith(PREFIX)}
    return (first_stage.eval(), card["latent_spread"]), own
