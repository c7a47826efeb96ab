"""Where models lie that a recipe names: in a folder of its own, or among those that ship. Imports no PyTorch."""

from __future__ import annotations

from pathlib import Path

from histogenesis.core.errors import BadInput

SHIPPED = "pretrained"  # models that ship: a folder each, in the repository or within this package
PLACES = [Path(__file__).parents[3] / SHIPPED, Path(__file__).parents[1] / SHIPPED]
FILES = ("model.safetensors", "model.json")


def folder_of(name: str) -> Path:
    """The folder of a trained model: `name` itself, or that of a model that ships and is called so.

    Raises BadInput, with the names that there are, where it is neither.
    """
    for folder in (Path(name), *(place / name for place in PLACES)):
        if all((folder / file).is_file() for file in FILES):
            return folder
    there = sorted({path.parent.name for place in PLACES for path in place.glob("*/model.json")})
    raise BadInput(
        f"{name}: no folder with {' and '.join(FILES)}, and no model that ships (those are: {', '.join(there) or 'none'})"
    )
