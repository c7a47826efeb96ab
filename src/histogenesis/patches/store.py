"""Patches in HDF5, and their coordinates alone in the forms that CLAM and TRIDENT read.

The store holds every mpp of a patch set: `imgs` (n, p, p, 3) uint8, raw, one patch a chunk with its checksum (fast to write
and to read at random); `coords` (n, 2) int64, the top left (x, y) at the slide's full resolution; `mpp` (n) float64, as the
recipe names it; `tissue` (n) float32. Where a slide's own pixels serve for an mpp within the tolerance, the attribute
`served_mpps` (JSON, mpp -> true mpp) says which they truly have. Patches of slides also have `sharpness`, `ink`, `seam`,
`stain` (n) float32 (`patches.quality`); the attribute `left_out` (JSON) counts the places that were not kept, by reason.
`coords` are those that QuPath shows: from where the scanned part begins (attribute `origin_px`); the files for other tools
count on the whole plane. A set with context also has `context` (n, p, p, 3) uint8: the view about each patch's centre,
`context_ratio` times as wide. CLAM's bag of images reads `imgs` and `coords` as they are. Labelled patches have more, all (n)
UTF-8 bytes: `label`, and, where a split keeps patches of one file apart, `group` (what it keeps together), `split` (if it is
given), `source` (the file) and `digest` (of the picture, the same for its eight turns and mirrors; empty if it is of one
colour).

TRIDENT and CLAM know one resolution a file, and both call its patch size `patch_size`: TRIDENT in pixels at
`target_magnification`, CLAM in pixels of level `patch_level`. So each mpp has a folder with both, named and placed as those
tools expect: TRIDENT's coords_dir has `{mpp}mpp/patches/{slide}_patches.h5`, CLAM's data_h5_dir `{mpp}mpp/patches/{slide}.h5`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from histogenesis.core.geometry import magnification, served_mpp
from histogenesis.core.hdf5 import CHUNKED, EMPTY, fletcher32, writing


@dataclass
class Cut:
    """The patches of one slide, without their pixels. coords (n, 2), mpp (n), tissue (n); skipped: mpp -> why it has none;
    cropped: mpp -> what of a slide the one patch of all of it does not show; texts: label, group, ... -> one for each patch;
    facts: more attributes of the file; origin_px: where the scanned part of the slide begins on its whole plane, which the
    files for other tools count from; columns: sharpness, ink, ... -> float32 (n); left_out: why -> how many places."""

    slide: str
    patch_px: int
    width_px: int = 0
    height_px: int = 0
    slide_mpp: float = float("nan")
    coords: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    mpp: np.ndarray = field(default_factory=lambda: np.zeros(0))
    tissue: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    skipped: dict[float, str] = field(default_factory=dict)
    cropped: dict[float, str] = field(default_factory=dict)
    error: str = ""
    facts: dict[str, str | int | float] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    context_ratio: float | None = None
    origin_px: tuple[int, int] = (0, 0)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def keep(self, rows: list[int]) -> None:
        """Only these patches, in this order."""
        self.coords, self.mpp, self.tissue = self.coords[rows], self.mpp[rows], self.tissue[rows]
        self.texts = {name: [texts[k] for k in rows] for name, texts in self.texts.items()}
        self.columns = {name: values[rows] for name, values in self.columns.items()}

    @property
    def served(self) -> dict[float, float]:
        """mpp -> the slide's own, where that serves in its place and is another number."""
        found = {float(mpp): served_mpp(mpp, self.slide_mpp) for mpp in np.unique(self.mpp[~np.isnan(self.mpp)])}
        return {mpp: true for mpp, true in found.items() if true != mpp}


def write_store(path: Path, cut: Cut, images: Iterable[np.ndarray], contexts: Iterable[np.ndarray] = ()) -> None:
    """Write the store, whole or not at all. images: one (p, p, 3) uint8 for each row of `cut.coords`, in order, or
    None to leave that row out of the cut; contexts: one for each that is kept, where the cut has a context_ratio.

    The bytes are a function of the content: no times are stored.
    """
    n, p = len(cut.coords), cut.patch_px
    with writing(path) as file:
        digest = hashlib.sha256()
        for name, pictures in [("imgs", images), *([("context", contexts)] if cut.context_ratio else [])]:
            chunks = (1, p, p, 3) if n else None
            stored = file.create_dataset(
                name, (n, p, p, 3), np.uint8, chunks=chunks, maxshape=(n, p, p, 3), **(CHUNKED if n else EMPTY)
            )
            kept: list[int] = []
            for k, picture in enumerate(pictures):
                if picture is None:
                    continue
                pixels = np.ascontiguousarray(picture, np.uint8)
                stored.id.write_direct_chunk((len(kept), 0, 0, 0), pixels.tobytes() + fletcher32(pixels))
                digest.update(pixels.data)
                kept.append(k)
            if len(kept) < n:
                cut.keep(kept)
                stored.resize(len(kept), axis=0)
                n = len(kept)
        imgs = file["imgs"]
        facts = CHUNKED if n else EMPTY
        coords = file.create_dataset("coords", data=cut.coords, **facts)
        file.create_dataset("mpp", data=cut.mpp, **facts)
        file.create_dataset("tissue", data=cut.tissue, **facts)
        for name, values in cut.columns.items():
            file.create_dataset(name, data=np.asarray(values, np.float32), **facts)
        for name, texts in cut.texts.items():
            encoded = np.array([text.encode() for text in texts], "S") if n else np.zeros(0, "S1")
            file.create_dataset(name, data=encoded, **facts)
        imgs.attrs.update({"wsi_name": cut.slide, "level_dim": (cut.width_px, cut.height_px)})
        coords.attrs.update({"name": cut.slide, "level0_width": cut.width_px, "level0_height": cut.height_px})
        file.attrs.update(
            {
                "slide": cut.slide,
                "width_px": cut.width_px,
                "height_px": cut.height_px,
                "slide_mpp": cut.slide_mpp,
                "size_px": p,
                "served_mpps": json.dumps(by_mpp(cut.served)),
                "left_out": json.dumps(cut.left_out),
                "origin_px": cut.origin_px,
                "skipped_mpps": json.dumps(by_mpp(cut.skipped)),
                **({"cropped_mpps": json.dumps(by_mpp(cut.cropped))} if cut.cropped else {}),
                "error": cut.error,
                "imgs_sha256": digest.hexdigest(),
                **cut.facts,
            }
        )
        if cut.context_ratio:
            file.attrs["context_ratio"] = cut.context_ratio


def by_mpp(values: dict[float, Any]) -> dict[str, Any]:
    """As attributes have it."""
    return {f"{mpp:g}": value for mpp, value in values.items()}


def read_texts(file: h5py.File, name: str) -> np.ndarray:
    """One text a patch (label, group, ...), str (n,); empty ones where the file has none of that name."""
    if name not in file:
        return np.full(len(file["mpp"]), "")
    return np.array([text.decode() for text in file[name][:]], str).reshape(-1)


def write_coords(folder: Path, cut: Cut, mpps: list[float]) -> None:
    """Write the coordinates-only files of one slide under `folder`: TRIDENT's and CLAM's, for each mpp (empty ones too)."""
    for mpp in mpps:
        coords = cut.coords[np.isclose(cut.mpp, mpp)] + np.array(cut.origin_px)
        target = Path(folder) / f"{mpp:g}mpp" / "patches"
        write_coords_file(target / f"{cut.slide}_patches.h5", coords, trident_attributes(cut, mpp))
        write_coords_file(target / f"{cut.slide}.h5", coords, clam_attributes(cut, mpp))


def trident_attributes(cut: Cut, mpp: float) -> dict:
    """What TRIDENT's `read_coords` is asked for. Its magnification is one of any mpp, exactly."""
    return {
        "patch_size": cut.patch_px,
        "patch_size_level0": level0_px(cut, mpp),
        "level0_magnification": magnification(cut.slide_mpp),
        "target_magnification": magnification(served_mpp(mpp, cut.slide_mpp)),
        "overlap": 0,
        "name": cut.slide,
        "savetodir": "",
        "level0_width": cut.width_px,
        "level0_height": cut.height_px,
    }


def clam_attributes(cut: Cut, mpp: float) -> dict:
    """What CLAM's `Whole_Slide_Bag_FP` and its stitching ask for. Patches are read at level 0, which every slide has."""
    return {
        "patch_size": level0_px(cut, mpp),
        "patch_level": 0,
        "downsample": (1.0, 1.0),
        "downsampled_level_dim": (cut.width_px, cut.height_px),
        "level_dim": (cut.width_px, cut.height_px),
        "name": cut.slide,
        "save_path": "",
    }


def level0_px(cut: Cut, mpp: float) -> int:
    """A patch's side in pixels of the slide's full resolution; 0 for a slide that could not be read."""
    return 0 if cut.error else round(cut.patch_px * served_mpp(mpp, cut.slide_mpp) / cut.slide_mpp)


def write_coords_file(path: Path, coords: np.ndarray, attributes: dict) -> None:
    """One `coords` dataset with attributes."""
    with writing(path) as file:
        file.create_dataset("coords", data=coords, **(CHUNKED if len(coords) else EMPTY)).attrs.update(attributes)
