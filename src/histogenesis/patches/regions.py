"""Patches from regions of a slide that a person drew and classified: field of view and mpp exact, the class of the region."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, served_mpp
from histogenesis.core.whole import load_json
from histogenesis.patches.cut import PICTURE_PX, places_of, show_places
from histogenesis.patches.pixels import pack_store
from histogenesis.patches.place import place_patches
from histogenesis.patches.store import Cut, write_coords, write_store
from histogenesis.slides.read import DamagedPlace, Slide
from histogenesis.slides.table import open_record
from histogenesis.tissue.files import write_png
from histogenesis.tissue.geojson import rasterise, read_features

MASK_PX = 4096  # of the mask on which places are looked for; whether they are inside is then computed exactly
SPARE = 4  # places that are looked for, for each that is wanted


def cut_regions(
    record: Path,
    run_dir: Path,
    geojson: Path | None,
    options: config.RegionPatches,
    seed: int,
    out: Path,
    picture: Path,
    coords: Path,
) -> Cut:
    """Cut the patches of one slide's regions; files as `patches.cut.cut_slide` writes them, and the label of each patch.

    A slide without regions, or that is set aside, gives a valid, empty store that says why. OSError rises: it may pass.
    """
    name = load_json(Path(record))["slide"]
    try:
        with open_record(record, run_dir) as slide:
            cut = choose(name, slide, regions_of(geojson, options.classes), options, seed)
            write_store(out, cut, pictures(slide, cut))
            if options.jpeg_quality:
                pack_store(out, options.jpeg_quality)
            shown = slide.overview(max(slide.mpp, max(slide.width_px, slide.height_px) * slide.mpp / PICTURE_PX))
    except BadInput as error:
        cut = Cut(name, options.size_px, error=str(error), texts={"label": []})
        write_store(out, cut, [])
        shown = np.full((40, 40, 3), 242, np.uint8)
    write_coords(coords, cut, options.mpps)
    write_png(Path(picture), show_places(shown, cut, options.mpps))
    return cut


def pictures(slide: Slide, cut: Cut) -> Iterator[np.ndarray | None]:
    """The pictures at a cut's places; None where the slide is damaged, which is counted."""
    for _, place in places_of(cut):
        try:
            yield slide.read(*place)
        except DamagedPlace:
            cut.left_out["damaged"] = cut.left_out.get("damaged", 0) + 1
            yield None


def regions_of(geojson: Path | None, classes: list[str]) -> dict[str, shapely.Geometry]:
    """The area of each wanted class, empty where there is none; other classes are passed over."""
    found = read_features(Path(geojson)) if geojson else []
    return {c: shapely.union_all([area for name, area in found if name == c.strip().lower()]) for c in classes}


def choose(
    name: str, slide: Slide, regions: dict[str, shapely.Geometry], options: config.RegionPatches, seed: int
) -> Cut:
    """Places at every mpp in the regions of every class: at most `per_slide` of each class and mpp."""
    cut = Cut(name, options.size_px, slide.width_px, slide.height_px, slide.mpp, texts={"label": []})
    cut.origin_px = slide.origin_px
    coords, mpps = [cut.coords], [cut.mpp]
    for mpp in options.mpps:
        if is_finer(mpp, slide.mpp):
            cut.skipped[mpp] = f"finer than the slide's {slide.mpp:g} mpp"
            if options.on_finer_mpp == "refuse":
                raise BadInput(f"{slide.path}: {mpp:g} mpp is {cut.skipped[mpp]}: leave it out, or the slide")
            continue
        found = {label: places(name, slide, label, regions, mpp, options, seed) for label in regions}
        if not any(map(len, found.values())):
            cut.skipped[mpp] = f"no region of class {', '.join(regions)} holds a patch of {options.size_px * mpp:g} um"
        for label, placed in found.items():
            coords.append(placed)
            mpps.append(np.full(len(placed), mpp))
            cut.texts["label"] += [label] * len(placed)
    cut.coords, cut.mpp = np.concatenate(coords), np.concatenate(mpps)
    cut.tissue = np.ones(len(cut.coords), np.float32)
    return cut


def places(
    name: str,
    slide: Slide,
    label: str,
    regions: dict[str, shapely.Geometry],
    mpp: float,
    options: config.RegionPatches,
    seed: int,
) -> np.ndarray:
    """Top left corners of patches that lie in regions of one class, int64 (n, 2).

    Looked for on a coarse mask, then kept if the exact share of the patch inside its class is at least min_inside, and of what
    other classes cover at most the rest.
    """
    area, served = regions[label], served_mpp(mpp, slide.mpp)
    side = options.size_px * served / slide.mpp
    size_px = slide.width_px, slide.height_px
    if area.is_empty:
        return np.zeros((0, 2), np.int64)
    scale = max(side / 32, max(size_px) / MASK_PX)
    height, width = (int(np.ceil(n / scale)) for n in size_px[::-1])
    mask = rasterise([area], (height, width), scale)
    coords, _ = place_patches(
        mask, scale * slide.mpp, slide.mpp, size_px, options.size_px, served,
        max(0.0, options.min_inside - 0.1), SPARE * options.per_slide, options.placement, seed, f"{name}/{label}",
    )  # fmt: skip
    boxes = shapely.box(coords[:, 0], coords[:, 1], coords[:, 0] + side, coords[:, 1] + side)
    others = shapely.union_all([other for key, other in regions.items() if key != label])
    inside = shapely.area(shapely.intersection(boxes, area)) / side**2 >= options.min_inside - 1e-9
    inside &= shapely.area(shapely.intersection(boxes, others)) / side**2 <= 1 - options.min_inside + 1e-9
    coords = coords[inside]
    if len(coords) > options.per_slide:
        key = hashlib.sha256(f"regions/{seed}/{name}/{label}/{mpp!r}".encode()).digest()
        random = np.random.default_rng(np.frombuffer(key, np.uint32))
        coords = coords[np.sort(random.choice(len(coords), options.per_slide, replace=False))]
    return coords
