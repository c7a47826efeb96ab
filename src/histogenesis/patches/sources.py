"""Where labelled patches lie: image files with a table of classes, PatchCamelyon's HDF5, Kaggle's copy of it.

Listing reads no pixels and needs the standard library alone, since planning a run lists what the run depends on.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from histogenesis.core.errors import BadInput

IMAGES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
CAMELYON = "camelyonpatch_level_2_split"
SPLITS = {"train": "train", "valid": "validation", "test": "test"}  # PatchCamelyon's own


class Listed(NamedTuple):
    """One patch: its file (and place in it, for HDF5), class, what must stay with it ("": not known), given split."""

    file: Path
    label: str
    group: str = ""
    split: str = ""
    place: int | None = None


def list_folder(path: Path, file: str, label: str, group: str) -> list[Listed]:
    """Images in a subfolder for each class; or, if `path` is a table, the files that it lists (beside it, or in its subfolder
    of that class), with the columns that `file`, `label` and, if there is one, `group` name."""
    if path.is_dir():
        classes = sorted(folder for folder in path.iterdir() if folder.is_dir())
        found = [Listed(p, c.name) for c in classes for p in sorted(c.rglob("*")) if p.suffix.lower() in IMAGES]
        if not found:
            raise BadInput(f"{path}: holds no images: put them in a subfolder for each class, or name a table of them")
        return found
    rows, folders = read_rows(path, (file, label)), {p.name: p for p in path.parent.iterdir() if p.is_dir()}

    def place(row: dict[str, str]) -> Path:
        inside = folders.get(row[label], path.parent) / row[file]
        return inside if inside.is_file() else path.parent / row[file]

    return [Listed(place(row), row[label], row.get(group) or "") for row in rows]


def list_kaggle(path: Path, *columns: str) -> list[Listed]:
    """train_labels.csv (id, label) and train/{id}.tif. Which slide a patch is from is not known."""
    return [
        Listed(path / "train" / f"{r['id']}.tif", r["label"]) for r in read_rows(path / "train_labels.csv", ("id",))
    ]


def list_camelyon(path: Path, *columns: str) -> list[Listed]:
    """The x and y files of each split that is there; the column `wsi` of _meta.csv, if there is one, is the group."""
    import h5py

    found = []
    for name, split in SPLITS.items():
        images, labels, meta = (path / f"{CAMELYON}_{name}_{end}" for end in ("x.h5", "y.h5", "meta.csv"))
        if not images.is_file():
            continue
        try:
            with h5py.File(labels, "r") as file:
                values = file["y"][:].reshape(-1)
        except (OSError, KeyError) as error:
            raise BadInput(
                f"{labels}: no labels there for {images.name} ({error}): unpack it beside the x file"
            ) from None
        slides = [row["wsi"] for row in read_rows(meta, ("wsi",))] if meta.is_file() else [""] * len(values)
        if len(slides) != len(values):
            raise BadInput(f"{meta}: {len(slides)} rows for {len(values)} patches: download both again")
        found += [Listed(images, str(int(v)), slide, split, k) for k, (v, slide) in enumerate(zip(values, slides))]
    if not found:
        raise BadInput(f"{path}: holds no {CAMELYON}_{{train,valid,test}}_x.h5: unpack PatchCamelyon's files there")
    return found


LISTS: dict[str, Callable[..., list[Listed]]] = {
    "folder": list_folder,
    "patchcamelyon": list_camelyon,
    "kaggle": list_kaggle,
}


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a .csv (or .tsv) that must have these columns."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such folder or table of labelled patches: correct `path`") from None
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        there = ", ".join(name for name in rows[0] if name) if rows else "it is empty"
        raise BadInput(f"{path}: has no column {' and no '.join(missing)} ({there}): name the columns in the recipe")
    return rows


def source_files(path: Path, kind: str, file_column: str, class_column: str) -> list[Path]:
    """The files that a labelled patch set depends on: what a run's digest covers. Nothing where they cannot be listed."""
    try:
        if kind == "patchcamelyon":
            return sorted(path.glob(f"{CAMELYON}_*"))
        if kind == "kaggle":
            return [path / "train_labels.csv", *(row.file for row in list_kaggle(path))]
        return [*([] if path.is_dir() else [path]), *(r.file for r in list_folder(path, file_column, class_column, ""))]
    except BadInput:  # the step that reads them says what is wrong
        return []
