"""Labelled patches from image files or PatchCamelyon's HDF5 -> one patch file, with the class and the group of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.patches.sources import LISTS, Listed
from histogenesis.patches.store import Cut, write_store
from histogenesis.slides.average import area_average


def read_labelled_set(name: str, path: Path, options: config.LabelledPatches, seed: int, out: Path) -> Cut:
    """Write a labelled patch set as `out`. Its patches have no place in a slide (coords -1) and, unless the recipe states one,
    no mpp (NaN). A patch whose group is not known is one with its own exact copies, turned and mirrored ones too.

    Raises BadInput for files that are missing, no images, smaller than the field, or of a class that is not there.
    """
    rows = choose(listed(path, options), path, options, seed)
    n, mpp = len(rows), options.mpps[0] if options.mpps else float("nan")
    texts = {key: [getattr(row, key) for row in rows] for key in ("label", "group")}
    texts |= {"source": [source_name(row, path) for row in rows], "digest": []}
    if any(row.split for row in rows):
        texts["split"] = [row.split for row in rows]
    cut = Cut(
        name,
        options.size_px,
        coords=np.full((n, 2), -1, np.int64),
        mpp=np.full(n, mpp),
        tissue=np.ones(n, np.float32),
        texts=texts,
    )

    def noted() -> Iterator[np.ndarray]:
        for k, (row, image) in enumerate(pictures(rows)):
            patch = centre(image, options, row.file)
            texts["digest"].append(picture_digest(patch))
            texts["group"][k] = texts["group"][k] or f"picture-{texts['digest'][k] or k}"
            yield patch

    write_store(out, cut, noted())
    return cut


def listed(path: Path, options: config.LabelledPatches) -> list[Listed]:
    """All patches of a source."""
    return LISTS[options.kind](path, options.file_column, options.class_column, options.group_column)


def choose(rows: list[Listed], path: Path, options: config.LabelledPatches, seed: int) -> list[Listed]:
    """Those of the wanted classes; at most `per_class` of each, by a digest of the seed and the file, in their own order."""
    there = {row.label for row in rows}
    missing = sorted(set(options.classes or []) - there)
    if missing:
        raise BadInput(f"{path}: no patch is of class {', '.join(missing)}; there are {', '.join(sorted(there))}")
    rows = [row for row in rows if not options.classes or row.label in options.classes]
    if not options.per_class:
        return rows

    def rank(k: int) -> bytes:
        return hashlib.sha256(f"labelled/{seed}/{source_name(rows[k], path)}".encode()).digest()

    kept = []
    for label in there:
        kept += sorted((k for k, row in enumerate(rows) if row.label == label), key=rank)[: options.per_class]
    return [rows[k] for k in sorted(kept)]


def source_name(row: Listed, path: Path) -> str:
    """The file, relative to the source, and the place in it."""
    file = row.file.relative_to(path if path.is_dir() else path.parent).as_posix()
    return file if row.place is None else f"{file}[{row.place}]"


def pictures(rows: list[Listed]) -> Iterator[tuple[Listed, np.ndarray]]:
    """Each patch's pixels, uint8 (h, w, 3), in order; an HDF5 file is opened once."""
    opened: tuple[Path | None, h5py.File | None] = (None, None)
    for row in tqdm(rows, desc="labelled patches", unit="patch", mininterval=2):
        if row.place is None:
            yield row, read_picture(row.file)
            continue
        if opened[0] != row.file:
            opened = row.file, h5py.File(row.file, "r")
        yield row, opened[1]["x"][row.place]


def read_picture(file: Path) -> np.ndarray:
    """uint8 (h, w, 3); transparent pixels are laid on white."""
    try:
        with Image.open(file) as image:
            if not image.has_transparency_data:
                return np.asarray(image.convert("RGB"))
            on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return np.asarray(on_white.convert("RGB"))
    except FileNotFoundError:
        raise BadInput(f"{file}: there is no such image, though it is listed: correct the table") from None
    except UnidentifiedImageError:
        raise BadInput(f"{file}: is no image that can be read: remove it from the table, or write it again") from None


def centre(image: np.ndarray, options: config.LabelledPatches, file: Path) -> np.ndarray:
    """The centre of field_px, each pixel of the result the mean over its own area: uint8 (size_px, size_px, 3)."""
    field = options.field_px or options.size_px
    height, width = image.shape[:2]
    if min(height, width) < field:
        raise BadInput(f"{file}: is {height} x {width} px, and {field} px are wanted: lower field_px (or size_px)")
    top, left = (height - field) // 2, (width - field) // 2
    image = np.ascontiguousarray(image[top : top + field, left : left + field])
    if field == options.size_px:
        return image
    edges = np.linspace(0, field, options.size_px + 1)
    return area_average(image, edges, edges)


def picture_digest(image: np.ndarray) -> str:
    """The same for a picture and its turns and mirrors, 32 hexadecimal digits; "" for one colour, which anything may be."""
    if (image == image[0, 0]).all():
        return ""
    turned = [np.rot90(view, k) for view in (image, image[:, ::-1]) for k in range(4)]
    return min(hashlib.blake2b(np.ascontiguousarray(t).tobytes(), digest_size=16).hexdigest() for t in turned)
