"""Labelled patches from image files: a folder for each class, or a table that names file, class and group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.tstr import Labelled
from histogenesis.metrics.checks import as_rgb

ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}


def read_labelled(path: str | Path) -> Labelled:
    """A folder with a subfolder for each class, or a table (.csv or .tsv) with columns file (relative to the table), class and
    group (the patient, or what else must stay on one side; without it each file is a group of its own).

    Raises BadInput for what is missing, what is no image, and images of several sizes.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such folder or table of labelled patches")
    rows = _folder(path) if path.is_dir() else _table(path)
    if not rows:
        raise BadInput(f"{path} holds no images: put them in a subfolder for each class, as {path}/normal/1.png")
    files, labels, groups = zip(*rows)
    return Labelled(as_rgb([read_image(file) for file in files]), np.array(labels, str), np.array(groups, str))


def _folder(path):
    classes = sorted(p for p in path.iterdir() if p.is_dir())
    files = [(f, c.name) for c in classes for f in sorted(c.rglob("*")) if f.suffix.lower() in ENDINGS]
    return [(file, label, str(file.relative_to(path))) for file, label in files]


def _table(path):
    table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    missing = [name for name in ("file", "class") if name not in table.columns]
    if missing:
        raise BadInput(f"{path} has no column {' and no '.join(missing)}: it needs file and class, and group if known")
    groups = table["group"] if "group" in table.columns else table["file"]
    return list(zip([path.parent / file for file in table["file"]], table["class"], groups))


def read_image(file) -> np.ndarray:
    """The pixels of an image file, with as many channels as it has. Raises BadInput where it is missing or no image."""
    try:
        with Image.open(file) as image:
            return np.asarray(image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB"))
    except FileNotFoundError:
        raise BadInput(f"{file}: no such image, though it is listed") from None
    except UnidentifiedImageError:
        raise BadInput(f"{file} is no image that can be read: remove it, or write it again") from None
