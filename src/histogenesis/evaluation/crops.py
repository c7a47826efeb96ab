"""Crops of real and synthetic slides at any mpp, from places that depend on a seed alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, same_mpp, served_mpp
from histogenesis.metrics.coherence.strips import open_levels, read_plan

NEARLY = 1e-6  # relative: what rounding of sizes may add


@dataclass(frozen=True)
class Place:
    """Where a crop lies: `source` in [0, 1) picks the slide, (u, v) the fraction of the free way right and down."""

    source: float
    u: float
    v: float
    mpp: float


class Source(Protocol):
    """A slide that crops are taken of; sizes in um."""

    name: str
    patient: str
    width_um: float
    height_um: float
    finest_mpp: float

    def read(self, x_um: float, y_um: float, size_px: int, mpp: float) -> np.ndarray:
        """uint8 (size_px, size_px, 3) with its top left corner at (x_um, y_um)."""


class SlideSource:
    """A real slide (slides.read.Slide), or a part of it: x_from to x_to of its width, y_from to y_to of its height."""

    def __init__(self, slide, name, patient, x_from=0.0, x_to=1.0, y_from=0.0, y_to=1.0):
        self.slide, self.name, self.patient = slide, name, patient
        self.left_um = x_from * slide.width_px * slide.mpp
        self.width_um = (x_to - x_from) * slide.width_px * slide.mpp
        self.top_um = y_from * slide.height_px * slide.mpp
        self.height_um = (y_to - y_from) * slide.height_px * slide.mpp
        self.finest_mpp = slide.mpp

    def read(self, x_um, y_um, size_px, mpp):
        side_um = size_px * served_mpp(mpp, self.slide.mpp)  # up to 3 % more than was asked for
        x_um = self.left_um + max(0.0, min(x_um, self.width_um - side_um))
        y_um = self.top_um + max(0.0, min(y_um, self.height_um - side_um))
        return self.slide.read(x_um / self.slide.mpp, y_um / self.slide.mpp, size_px, mpp, fill=True)


class CanvasSource:
    """A synthetic slide: the folder of its level{k}.h5. Read from the coarsest level that is fine enough, area-averaged."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.files = sorted(open_levels(self.folder), key=lambda file: -float(file.attrs["mpp"]))
        self.generated_files = [
            file for file in self.files if file.attrs.get("synthetic", True)
        ]  # and not given, of a real slide
        self.name = self.patient = str(self.files[0].attrs["slide"])
        finest = self.files[-1]
        self.finest_mpp = float(finest.attrs["mpp"])
        self.height_um, self.width_um = (n * self.finest_mpp for n in finest["image"].shape[:2])

    def level(self, mpp: float):
        """The file of the level that has this mpp, or None."""
        return next((f for f in self.generated_files if same_mpp(mpp, float(f.attrs["mpp"]))), None)

    def read(self, x_um, y_um, size_px, mpp):
        fit = [f for f in self.generated_files if not is_finer(mpp, float(f.attrs["mpp"]))]
        if not fit:
            raise BadInput(
                f"{self.folder}: its finest level has {self.finest_mpp:g} mpp, so no crop at {mpp:g} mpp can be read"
            )
        own = float(fit[0].attrs["mpp"])
        image = fit[0]["image"]
        if same_mpp(mpp, own):
            y, x = (min(round(start / own), n - size_px) for start, n in zip((y_um, x_um), image.shape[:2]))
            return image[y : y + size_px, x : x + size_px]
        from histogenesis.slides.average import area_average

        edges = []
        for start, n in zip((y_um, x_um), image.shape[:2]):
            along = np.arange(size_px + 1) * (mpp / own) + start / own
            edges.append(np.clip(along - max(0.0, along[-1] - n), 0, n))
        top, left = (int(e[0]) for e in edges)
        part = image[top : int(np.ceil(edges[0][-1])), left : int(np.ceil(edges[1][-1]))]
        return area_average(part, edges[0] - top, edges[1] - left)

    def close(self):
        for file in self.files:
            file.close()


def coarsest_mpp(sources: Sequence[Source], size_px: int) -> float:
    """The coarsest mpp at which a crop of size_px still fits into every source."""
    return min(min(s.width_um, s.height_um) for s in sources) / size_px


def read_places(sources: Sequence[Source], places: list[Place], size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The crops, uint8 (n, size_px, size_px, 3), and which source each is of, (n,).

    The same places give, in another list of sources, crops of the same scale from the same relative position. Raises
    BadInput where a crop does not fit into its source.
    """
    if not sources:
        raise BadInput("there are no slides to take crops of")
    crops = np.empty((len(places), size_px, size_px, 3), np.uint8)
    which = np.array([int(p.source * len(sources)) for p in places], dtype=np.int64)
    for i, place in enumerate(places):
        source, window = sources[which[i]], size_px * place.mpp
        free = source.width_um - window, source.height_um - window
        if min(free) < -NEARLY * window:
            raise BadInput(
                f"{source.name}: a crop of {size_px} px at {place.mpp:g} mpp is {window:.0f} um wide, and the slide"
                f" {source.width_um:.0f} x {source.height_um:.0f} um: take smaller crops or a finer mpp"
            )
        crops[i] = source.read(place.u * max(free[0], 0), place.v * max(free[1], 0), size_px, place.mpp)
    return crops, which


def tissue_crops(
    source: CanvasSource, plan_png: str | Path, mpp: float, size_px: int, n: int, min_tissue: float, seed: int
):
    """Up to n crops of the level that has `mpp`, at the places of `tissue_places`: uint8 (k, size_px, size_px, 3)."""
    places = tissue_places(source, plan_png, mpp, size_px, n, min_tissue, seed)
    if not len(places):
        return np.zeros((0, size_px, size_px, 3), np.uint8)
    image = source.level(mpp)["image"]
    return np.stack([image[y : y + size_px, x : x + size_px] for y, x in places])


def tissue_places(
    source: CanvasSource, plan_png: str | Path, mpp: float, size_px: int, n: int, min_tissue: float, seed: int
) -> np.ndarray:
    """Top left corners (k, 2: y, x; px of the level that has `mpp`) of random windows of which the plan says that they hold
    tissue.

    k <= n: no more than four times what fits side by side, since more would say nothing new. k = 0 where there is no such
    level, or it is smaller than a crop, or it has no tissue.
    """
    file = source.level(mpp)
    none = np.zeros((0, 2), np.int64)
    if file is None:
        return none
    plan = read_plan(plan_png)
    height, width = file["image"].shape[:2]
    if min(height, width) < size_px:
        return none
    ratio_y, ratio_x = height / plan.shape[0], width / plan.shape[1]
    n = min(n, max(1, int(4 * plan.sum() * ratio_y * ratio_x / size_px**2)))
    table = np.pad(plan.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rng = np.random.default_rng([seed, round(mpp * 1e6)])
    places = []
    for y, x in rng.integers(0, (height - size_px + 1, width - size_px + 1), (50 * n, 2)):
        top, bottom = int(y / ratio_y), math.ceil((y + size_px) / ratio_y - NEARLY)
        left, right = int(x / ratio_x), math.ceil((x + size_px) / ratio_x - NEARLY)
        inside = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
        if inside >= max(min_tissue, 1e-9) * (bottom - top) * (right - left):
            places.append((y, x))
        if len(places) == n:
            break
    return np.array(places, np.int64).reshape(-1, 2)
