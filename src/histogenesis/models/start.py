"""Fine-tuning: a training that begins with the weights of a model that is there already (`training.start`).

Its normalisation is kept, since its weights mean something in its units alone; the optimiser and the moving average begin anew.
A model may be shown more pictures (`conditions`) than the one it starts from: at first it does not look at them.
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file
from torch import Tensor

from histogenesis.core.errors import BadInput
from histogenesis.core.files import sha256_of
from histogenesis.models.card import read_card
from histogenesis.models.conditions import pictures_of
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.latent import FACTOR, Autoencoder
from histogenesis.models.model import Normalisation
from histogenesis.models.networks.keys import keys_of
from histogenesis.models.networks.keys.base import Attending
from histogenesis.models.options import ModelOptions
from histogenesis.models.shipped import FILES, folder_of
from histogenesis.models.upscaler import Upscaler


class Start:
    """A trained model as the beginning of another: `digest` of its two files, `normalisation`, and `fill(model)`."""

    def __init__(self, start: str):
        try:
            self.folder = folder_of(start)
        except BadInput as error:
            raise BadInput(f"training.start: {error}") from None
        self.digest = ",".join(sha256_of(self.folder / name) for name in FILES)
        self.description = read_card(self.folder)
        self.normalisation = Normalisation(
            **self.description["normalisation"], sigma_data=self.description["sigma_data"]
        )

    def fill(self, model: Denoiser | Upscaler | Autoencoder, section: dict, classes: list[str], patch_px: int) -> None:
        """Give the model's network these weights. section: of the new model, as in model.json; classes: those it is told;
        patch_px: side of what it learns from, which may be another.

        Raises BadInput that says in what the two differ.
        """
        there, here = (
            comparable(self.description["section"], self.description.get("classes"), self.description["patch_px"]),
            comparable(section, classes, patch_px),
        )
        if adds_cond_images(there["conditions"], here["conditions"]):
            there["conditions"] = here["conditions"]
        wrong = [
            f"{key} is {json.dumps(there.get(key))} there and {json.dumps(here.get(key))} here"
            for key in {**there, **here}
            if there.get(key) != here.get(key)
        ]
        # The autoencoder of a model that draws in its space.
        frozen = model.frozen_weights() if isinstance(model, Denoiser) else {}
        own = model.network.state_dict()
        weights = load_file(self.folder / "model.safetensors", device=str(next(iter(own.values())).device))
        if not wrong:
            weights = blind(weights, own)
        other = [name for name, w in own.items() if name not in weights or weights[name].shape != w.shape]
        if not wrong and other:
            wrong = [f"{len(other)} of {len(own)} weights are missing there or of another size ({other[0]}, ...)"]
        if not wrong and any(name not in weights or not torch.equal(weights[name], w) for name, w in frozen.items()):
            wrong = ["it draws in the space of another autoencoder"]
        if wrong:
            raise BadInput(f"training.start: {self.folder} is another model: {'; '.join(wrong)}. Make them alike")
        model.network.load_state_dict({name: weights[name] for name in own})


def blind(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights, with zeros for the pictures that the new network (`own`) is shown and the old one was not.

    Their channels come last in the first convolution; how noisy one is, is a term of what is told (models.conditioning).
    """
    found = dict(weights)
    for name, w in own.items():
        if name not in weights and name.startswith("seen_embedding."):
            found[name] = torch.zeros_like(w) if name.startswith("seen_embedding.layers.2.") else w
        elif name.startswith("first.") and name in weights and w.ndim == 4 and w.shape[1] > weights[name].shape[1]:
            found[name] = torch.zeros_like(w)
            found[name][:, : weights[name].shape[1]] = weights[name]
    return found


def adds_cond_images(there: list[str], here: list[str]) -> bool:
    """Whether a model is told what another is, and is shown pictures beside, whose channels come after those of the other."""
    cond_images, also = pictures_of(there), pictures_of(here)
    return set(there) - set(cond_images) == set(here) - set(also) and also[: len(cond_images)] == cond_images


def comparable(section: dict, classes: list[str] | None, patch_px: int) -> dict:
    """What must be the same for weights to mean the same: key of a recipe's model -> value.

    Attention is compared by the levels that have it, however they are named: of patches twice as wide, `attention_px` is twice.
    """
    network, objective, conditions = section["network"], section["objective"], section["conditions"]
    unlike = ("dropout", "weights", "attention_px", "attention_levels")
    found = {f"network.{key}": value for key, value in network.items() if key not in unlike}
    keys = keys_of(ModelOptions.of(section).network)
    if isinstance(keys, Attending):
        found["network.attention_levels"] = keys.attention(patch_px // (FACTOR if section.get("autoencoder") else 1))
    elif "attention_levels" in network:
        found["network.attention_levels"] = network["attention_levels"]
    for key in ("kind", "sigma_data", "schedule", "timesteps", "noise_cond"):
        found[f"objective.{key}"] = objective.get(key)
    found["conditions"] = conditions
    found["classes"] = list(classes or []) if "label" in conditions else []
    found["label_embeddings.width"] = (section.get("label_embeddings") or {}).get("width")
    return found
