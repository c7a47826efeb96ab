"""Where a reader study's pictures come from: real slides and synthetic ones, read alike at any place and mpp."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, same_mpp
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.patches.splits import PART, read_splits
from histogenesis.slides.average import area_average
from histogenesis.slides.codec import Codec, codec_of_slide
from histogenesis.slides.table import open_record
from histogenesis.study.questions import GENERATED, REAL
from histogenesis.tissue.files import load_tissue


class Source:
    """A slide, or a part of it; sizes in um. kind: real or generated; glass: its colour, RGB; codec: what its pixels have been
    through, if known; mask: bool, where it has tissue, over all of it; digest: of what it is."""

    name: str
    kind: str
    width_um: float
    height_um: float
    finest_mpp: float
    glass: np.ndarray
    codec: Codec | None = None
    mask: np.ndarray
    digest: str

    def _read(self, x_um: float, y_um: float, size_px: tuple[int, int], mpp: float) -> np.ndarray:
        raise NotImplementedError

    def read(self, x_um: float, y_um: float, size_px: tuple[int, int], mpp: float) -> np.ndarray:
        """uint8 (*size_px, 3) with its top left corner at (x_um, y_um), which may lie outside: there is glass.

        Raises BadInput for an mpp finer than the slide's own.
        """
        if is_finer(mpp, self.finest_mpp):
            raise BadInput(
                f"{self.name}: {mpp:g} mpp was asked for, and it has {self.finest_mpp:g}: ask for a coarser `mpp`"
            )
        out = np.empty((*size_px, 3), np.uint8)
        out[:] = np.asarray(self.glass).astype(np.uint8)
        first, last = [], []
        for start, n, whole in zip((y_um, x_um), size_px, (self.height_um, self.width_um)):
            first.append(max(0, math.ceil(-start / mpp - 1e-6)))
            last.append(min(n, math.floor((whole - start) / mpp + 1e-6)))
        rows, columns = (b - a for a, b in zip(first, last))
        if rows > 0 and columns > 0:
            inside = self._read(x_um + first[1] * mpp, y_um + first[0] * mpp, (rows, columns), mpp)
            out[first[0] : last[0], first[1] : last[1]] = inside
        return out

    def tissue_share(self, x_um: float, y_um: float, side_um: float) -> float:
        """Of a square, by the mask."""
        rows, columns = self.mask.shape
        top, bottom = (round(v / self.height_um * rows) for v in (y_um, y_um + side_um))
        left, right = (round(v / self.width_um * columns) for v in (x_um, x_um + side_um))
        window = self.mask[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)]
        return float(window.mean()) if window.size else 0.0

    def centre_um(self, height_um: float, width_um: float) -> tuple[float, float]:
        """x, y of the middle of a window of this size: that of the box about the tissue, along a side that the box fits into;
        along another, where the window holds most tissue."""
        middles = []
        for axis, wanted, whole in ((0, height_um, self.height_um), (1, width_um, self.width_um)):
            along = self.mask.mean(axis=1 - axis)
            there = np.flatnonzero(along)
            if not len(there):
                middles.append(whole / 2)
                continue
            first, last = there[0], there[-1] + 1
            px = max(1, round(wanted / whole * len(along)))
            if px < last - first:
                held = np.convolve(along, np.ones(px), mode="valid")
                first = int(np.flatnonzero(held == held.max()).mean())
                last = first + px
            middles.append((first + last) / 2 / len(along) * whole)
        return middles[1], middles[0]


class RealSource(Source):
    """A slide of the run that was registered, or the part of it that `item` (a row of splits.tsv) says."""

    kind = REAL

    def __init__(self, run_dir: Path, item: dict):
        record = run_dir / "slides" / f"{item['slide']}.json"
        self.name, self._slide = item["slide"], open_record(record, run_dir)
        whole_um = self._slide.width_px * self._slide.mpp, self._slide.height_px * self._slide.mpp
        tissue = load_tissue(run_dir / "tissue" / self.name)
        self._left_um, self._top_um = item["x_from"] * whole_um[0], item["y_from"] * whole_um[1]
        self.width_um = (item["x_to"] - item["x_from"]) * whole_um[0]
        self.height_um = (item["y_to"] - item["y_from"]) * whole_um[1]
        self.finest_mpp, self.glass = self._slide.mpp, tissue.background
        self.codec = codec_of_slide(self._slide.path)
        rows, columns = tissue.mask.shape
        part = [
            round(item[key] * n)
            for key, n in (("y_from", rows), ("y_to", rows), ("x_from", columns), ("x_to", columns))
        ]
        self.mask = tissue.mask[part[0] : max(part[1], part[0] + 1), part[2] : max(part[3], part[2] + 1)]
        self.digest = f"{json.loads(record.read_text())['sha256']}/{part}"

    def _read(self, x_um, y_um, size_px, mpp):
        own = self._slide.mpp
        return self._slide.read((self._left_um + x_um) / own, (self._top_um + y_um) / own, size_px, mpp, fill=True)


class CanvasSource(Source):
    """A synthetic slide: its canvases. What was given to it, of a real slide, is not read: a coarse picture is averaged from
    what was drawn."""

    kind = GENERATED

    def __init__(self, folder: Path):
        self.name, plan = folder.name, json.loads((folder / "plan.json").read_text())
        self._files = [file for file in open_levels(folder) if file.attrs.get("synthetic", True)]
        if not self._files:
            raise BadInput(f"{folder}: has no level that was drawn")
        finest = self._files[-1]
        self.finest_mpp = float(finest.attrs["mpp"])
        self.height_um, self.width_um = (n * self.finest_mpp for n in finest["image"].shape[:2])
        self.glass, self.mask = np.array(plan["background"]), read_plan(folder / "plan.png")
        middle = finest["image"][finest["image"].shape[0] // 2]
        self.digest = f"{self.name}/{plan}/{hash_of(middle)}"

    def _read(self, x_um, y_um, size_px, mpp):
        file = next(f for f in self._files if not is_finer(mpp, float(f.attrs["mpp"])))
        own, image = float(file.attrs["mpp"]), file["image"]
        if same_mpp(mpp, own):
            y, x = (min(max(0, round(v / own)), n - m) for v, n, m in zip((y_um, x_um), image.shape[:2], size_px))
            if y >= 0 and x >= 0:
                return image[y : y + size_px[0], x : x + size_px[1]]
        edges = [
            np.clip(v / own + np.arange(m + 1) * (mpp / own), 0, n)
            for v, n, m in zip((y_um, x_um), image.shape[:2], size_px)
        ]
        (top, left), (bottom, right) = ((math.floor(e[0]) for e in edges), (math.ceil(e[-1]) for e in edges))
        return area_average(image[top:bottom, left:right], edges[0] - top, edges[1] - left)


def hash_of(pixels: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def real_sources(run_dir: Path, held_out: bool = True) -> list[RealSource]:
    """The run's slides that nothing was trained on (or all), in the table's order; those that were set aside are left out."""
    items = read_splits(run_dir / "splits.tsv")
    if held_out:
        items = [item for item in items if item["split"] != "train"]
    else:  # of each slide all, also where a part of it was held out
        items = list({item["slide"]: {**item, **PART} for item in items}.values())
    found = []
    for item in items:
        record = run_dir / "slides" / f"{item['slide']}.json"
        if not json.loads(record.read_text())["error"]:
            found.append(RealSource(run_dir, item))
    return found


def canvas_sources(run_dir: Path, names: Iterable[str]) -> list[CanvasSource]:
    return [CanvasSource(run_dir / "synthetic" / name) for name in names]
