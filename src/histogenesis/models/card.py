"""What model.json says of a model; those that earlier versions wrote are read under today's names. Imports no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from histogenesis.core.whole import load_json

# Section -> key in files of earlier versions -> its name now.
STORED = {"objective": {"told": "noise_cond"}, "network": {"codes": "codebook_size"}}


def read_card(folder: Path) -> dict[str, Any]:
    """The model.json of a trained model's folder. Raises what `load_json` does."""
    return renamed(load_json(folder / "model.json"))


def renamed(value: Any, section: str = "") -> Any:
    """The same with today's names, at any depth: a model that draws latents holds its autoencoder's card too."""
    if not isinstance(value, dict):
        return value
    names = STORED.get(section, {})
    return {names.get(key, key): renamed(part, key) for key, part in value.items()}
