"""Fine-tuning: a training that begins with the weights of a model that is there already (`training.start`).

Its normalisation is kept, since its weights mean something in its units alone; the optimiser and the moving average begin anew.
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file

from histogenesis.core.errors import BadInput
from histogenesis.core.files import sha256_of
from histogenesis.core.whole import load_json
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.latent import Autoencoder
from histogenesis.models.model import Normalisation
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
        self.description = load_json(self.folder / "model.json")
        self.normalisation = Normalisation(
            **self.description["normalisation"], sigma_data=self.description["sigma_data"]
        )

    def fill(self, model: Denoiser | Upscaler | Autoencoder, section: dict, classes: list[str]) -> None:
        """Give the model's network these weights. section: of the new model, as in model.json; classes: those it is told.

        Raises BadInput that says in what the two differ.
        """
        there, here = (
            comparable(self.description["section"], self.description.get("classes")),
            comparable(section, classes),
        )
        wrong = [
            f"{key} is {json.dumps(there.get(key))} there and {json.dumps(here.get(key))} here"
            for key in {**there, **here}
            if there.get(key) != here.get(key)
        ]
        # The autoencoder of a model that draws in its space.
        kept = model.kept() if isinstance(model, Denoiser) else {}
        own = model.network.state_dict()
        weights = load_file(self.folder / "model.safetensors", device=str(next(iter(own.values())).device))
        other = [name for name, w in own.items() if name not in weights or weights[name].shape != w.shape]
        if not wrong and other:
            wrong = [f"{len(other)} of {len(own)} weights are missing there or of another size ({other[0]}, ...)"]
        if not wrong and any(name not in weights or not torch.equal(weights[name], w) for name, w in kept.items()):
            wrong = ["it draws in the space of another autoencoder"]
        if wrong:
            raise BadInput(f"training.start: {self.folder} is another model: {'; '.join(wrong)}. Make them alike")
        model.network.load_state_dict({name: weights[name] for name in own})


def comparable(section: dict, classes: list[str] | None) -> dict:
    """What must be the same for weights to mean the same: key of a recipe's model -> value."""
    network, objective, conditions = section["network"], section["objective"], section["conditions"]
    found = {f"network.{key}": value for key, value in network.items() if key not in ("dropout", "weights")}
    for key in ("kind", "sigma_data", "schedule", "timesteps", "told"):
        found[f"objective.{key}"] = objective.get(key)
    found["conditions"] = conditions
    found["classes"] = list(classes or []) if "label" in conditions else []
    return found
