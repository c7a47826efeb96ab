"""The patches of one split, as one long array that is read piece by piece."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import by_mpp, served_mpp
from histogenesis.core.hdf5 import reading
from histogenesis.patches.pixels import PixelReader
from histogenesis.patches.splits import PART, place_of, read_splits
from histogenesis.patches.store import read_texts

__all__ = ["PatchCollection", "by_mpp", "together"]


class PatchCollection:
    """The patches of a split of a patch set.

    folder: one {slide}.h5 for each slide; splits_tsv: which slides, and which part of their width, belong to a split. A patch
    belongs to a part only if it lies wholly inside; one that straddles two belongs to neither. Of patches that name
    their group (labelled folders), splits_tsv lists the groups as patients. classes: only patches of these labels.

    mpp: float64 (n), NaN where it is not known; slide, patient, label: str (n); coords: int64 (n, 2); tissue: float32 (n);
    patch_px; context_ratio: of the wider view beside each patch, or None; digest: of the patches' pixels and labels.

    A wider view must lie in the part too, as far as it lies on the slide: what is held out is not shown to a model, not even
    at the border of a view. Files are opened when first read, and threads read side by side; safe after fork and when pickled.
    Raises BadInput if there are no patches.
    """

    def __init__(self, folder: Path, splits_tsv: Path, split: str, classes: list[str] | None = None):
        self.folder, self.split = Path(folder), split
        entries = read_splits(splits_tsv)
        rows, names, empty = [], [], []
        sizes, ratios = set(), set()
        for item in together([item for item in entries if item["split"] == split]):
            found = self.describe(item, classes)
            sizes.add(found["size_px"])
            ratios.add(found["context_ratio"])
            rows.append(found)
            names.append(item["slide"])
            if not len(found["index"]):
                empty.append(f"  {item['slide']}: {found['why']}")
        if not sum(len(found["index"]) for found in rows):
            splits = sorted({item["split"] for item in entries})
            detail = "\n".join(empty) or f"  no slide is in it; splits are {', '.join(splits)}"
            raise BadInput(
                f"{self.folder}: no patches in the split {split!r} of {splits_tsv}:\n{detail}\n  remedy: add slides, lower"
                " `min_tissue` or `size_px`, take mpps at which a patch fits the held-out part, or change `split`"
            )
        if len(sizes) > 1 or len(ratios) > 1:
            raise BadInput(
                f"{self.folder}: patches of different sizes {sorted(sizes)} or context: delete the folder and cut them again"
            )
        self.patch_px, self.context_ratio = sizes.pop(), ratios.pop()
        self.names = names
        self._file = np.repeat(np.arange(len(rows)), [len(found["index"]) for found in rows])
        self._index = np.concatenate([found["index"] for found in rows])
        self.slide = np.array(names)[self._file]
        self.mpp = np.concatenate([found["mpp"] for found in rows]).astype(np.float64)
        self.coords = np.concatenate([found["coords"] for found in rows])
        self.tissue = np.concatenate([found["tissue"] for found in rows])
        self.patient = np.concatenate([found["patient"] for found in rows])
        self.label = np.concatenate([found["label"] for found in rows])
        contents = json.dumps([found["imgs_sha256"] for found in rows]).encode() + self._index.tobytes()
        if (self.label != "").any():
            contents += json.dumps(self.label.tolist()).encode()
        self.digest = hashlib.sha256(contents).hexdigest()
        self._forget()

    @property
    def classes(self) -> list[str]:
        """The labels that there are, sorted; none for patches without."""
        return sorted(set(self.label.tolist()) - {""})

    def describe(self, item: dict, classes: list[str] | None = None) -> dict:
        """The patches of one row of `together`: their index in the file, mpp, coords, tissue, patient, label; size_px; why
        there are none."""
        path = self.folder / f"{item['slide']}.h5"
        if not path.exists():
            raise BadInput(f"{path}: there is no such file: cut the slide's patches first")
        with reading(path) as file:
            coords, mpp, tissue = file["coords"][:].reshape(-1, 2), file["mpp"][:], file["tissue"][:]
            attributes, group, label = dict(file.attrs), read_texts(file, "group"), read_texts(file, "label")
            grouped = "group" in file
        side = attributes["size_px"] * served_mpp(mpp, attributes["slide_mpp"]) / attributes["slide_mpp"]
        ratio = float(attributes["context_ratio"]) if "context_ratio" in attributes else None
        further = ((ratio or 1) - 1) / 2 * side
        inside = np.ones(len(coords), bool)
        for axis, (name, length) in enumerate((("x", "width_px"), ("y", "height_px"))):
            whole = max(1, int(attributes[length]))
            start = np.maximum(coords[:, axis] - further, 0) / whole
            end = np.minimum(coords[:, axis] + side + further, whole) / whole
            inside &= (start >= item[f"{name}_from"] - 1e-9) & (end <= item[f"{name}_to"] + 1e-9)
        skipped = "; ".join(f"{key} mpp {why}" for key, why in json.loads(attributes["skipped_mpps"]).items())
        why = attributes["error"] or skipped or "its mask has no tissue"
        if len(coords):
            why = f"none of {len(coords)} patches lies wholly in {place_of(item) or 'the slide'}"
        if grouped:
            inside, why = np.isin(group, item["patients"]), "none of its groups is in this split"
        if classes is not None and inside.any():
            inside, why = inside & np.isin(label, classes), f"none is of the classes {', '.join(classes)}"
        index = np.flatnonzero(inside)
        found = {"index": index, "mpp": mpp[index], "coords": coords[index], "tissue": tissue[index]}
        found |= {"patient": group[index] if grouped else np.full(len(index), item["patient"]), "label": label[index]}
        facts = {"size_px": int(attributes["size_px"]), "imgs_sha256": str(attributes["imgs_sha256"]), "why": why}
        return found | facts | {"context_ratio": ratio}

    def __len__(self) -> int:
        return len(self._index)

    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Patches by their index, in the order asked for. uint8 (n, p, p, 3)"""
        return self._read("imgs", indices)

    def read_context(
        self, indices: np.ndarray | Sequence[int], corners: Sequence[tuple[int, int]] = (), side_px: int | None = None
    ) -> np.ndarray:
        """The wider views about these patches, or windows of them. uint8 (n, p, p, 3)"""
        return self._read("context", indices, corners, side_px)

    def read_windows(
        self, indices: np.ndarray | Sequence[int], corners: Sequence[tuple[int, int]], side_px: int
    ) -> np.ndarray:
        """Of each patch the window with its top left corner at (y, x); what lies around it is not read. uint8 (n, s, s, 3)"""
        return self._read("imgs", indices, corners, side_px)

    def _read(
        self,
        what: str,
        wanted: np.ndarray | Sequence[int],
        corners: Sequence[tuple[int, int]] = (),
        side_px: int | None = None,
    ) -> np.ndarray:
        indices = np.asarray(wanted, np.int64).reshape(-1)
        side = side_px or self.patch_px
        out = np.empty((len(indices), side, side, 3), np.uint8)
        reader = self._reader_of_process()
        for k in np.argsort(self._file[indices], kind="stable"):
            i = indices[k]
            reader.read(
                what, int(self._file[i]), int(self._index[i]), out[k], *(corners[k] if len(corners) else (0, 0))
            )
        return out

    def _reader_of_process(self) -> PixelReader:
        """This process's open files; a forked child opens its own."""
        if self._pid != os.getpid():
            self._forget()
        return self._reader

    def _forget(self) -> None:
        paths = [self.folder / f"{name}.h5" for name in self.names]
        self._pid, self._reader = os.getpid(), PixelReader(paths, self.patch_px)

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key not in ("_pid", "_reader")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()


def together(entries: list[dict]) -> list[dict]:
    """Rows of splits.tsv, those of one slide and part of it as one row, whose `patients` lists them all."""
    found: dict[tuple, dict] = {}
    for item in entries:
        key = item["slide"], *(item[end] for end in PART)
        found.setdefault(key, {**item, "patients": []})["patients"].append(item["patient"])
    return list(found.values())
