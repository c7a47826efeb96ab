"""Where models lie that a recipe names: in a folder of its own, or among those that ship. Imports no PyTorch."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.core.files import sha256_of
from histogenesis.models.card import read_card

SHIPPED = "pretrained"  # models that ship: a folder each, in the repository or within this package
PLACES = [Path(__file__).parents[3] / SHIPPED, Path(__file__).parents[1] / SHIPPED]
FILES = ("model.safetensors", "model.json")
CHECKSUMS = "SHA256SUMS"  # as `sha256sum` writes and checks them


def folder_of(name: str) -> Path:
    """The folder of a trained model: `name` itself, or that of a model that ships and is called so, its files checked.

    Raises BadInput, with the names that there are, where it is neither; and for a file that is not the one that shipped.
    """
    for folder in (Path(name), *(place / name for place in PLACES)):
        if all((folder / file).is_file() for file in FILES):
            check_whole(folder)
            return folder
    there = shipped_names()
    nearest = get_close_matches(name, there, 1)
    raise BadInput(
        f"{name}: no folder with {' and '.join(FILES)}, and no model that ships (those are: {', '.join(there) or 'none'})"
        + (f"; did you mean {nearest[0]}?" if nearest else "")
    )


def stain_of(name: str) -> str | None:
    """The stain that a model says it has seen, if it does; None also for a model that is not there (yet)."""
    try:
        return read_card(folder_of(name)).get("stain")
    except BadInput:
        return None


def shipped_names() -> list[str]:
    """The names of the models that ship, sorted."""
    return sorted({path.parent.name for place in PLACES for path in place.glob("*/model.json")})


def check_whole(folder: Path) -> None:
    """Raise BadInput for a file whose checksum, where the folder lists any, differs."""
    if not (folder / CHECKSUMS).is_file():
        return
    for line in (folder / CHECKSUMS).read_text().splitlines():
        stated, _, file = line.partition("  ")
        if not (folder / file).is_file() or sha256_of(folder / file) != stated:
            raise BadInput(
                f"{folder / file}: damaged: its sha256 is not the one in {CHECKSUMS}. Restore it (git checkout), or install"
                " histogenesis again"
            )
