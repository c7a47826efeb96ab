"""Models that ship with the workflow, by name: folders of pretrained/, each with weights, model.json, a card and checksums."""

from __future__ import annotations

import hashlib
from difflib import get_close_matches
from pathlib import Path

from histogenesis.core.errors import BadInput

SHIPPED = Path(__file__).resolve().parent.parent / "pretrained"
CHECKSUMS = "SHA256SUMS"  # as `sha256sum` writes and checks them


def pretrained_names(shipped: Path = SHIPPED) -> list[str]:
    """The names of the models that ship, sorted."""
    return sorted(path.parent.name for path in shipped.glob(f"*/{CHECKSUMS}"))


def pretrained_folder(name: str, shipped: Path = SHIPPED) -> Path:
    """The folder of a model that ships; raises BadInput for a name that does not exist and for a file that is damaged."""
    names = pretrained_names(shipped)
    if name not in names:
        nearest = get_close_matches(name, names, 1)
        raise BadInput(
            f"no pretrained model {name!r}; there are {', '.join(names) or 'none'}"
            + (f". Did you mean {nearest[0]}?" if nearest else "")
        )
    folder = shipped / name
    for line in (folder / CHECKSUMS).read_text().splitlines():
        stated, _, file = line.partition("  ")
        if not (folder / file).is_file() or sha256_of(folder / file) != stated:
            raise BadInput(
                f"{folder / file}: not the file that shipped (its sha256 differs); install histogenesis again"
            )
    return folder


def model_folder(source: str) -> Path:
    """The folder of a model: that of a pretrained name, or a path as it is."""
    return pretrained_folder(source) if source in pretrained_names() else Path(source)


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
