"""Cut one slide's patches: choose the places, read them, store them, and show where they were."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, served_mpp
from histogenesis.patches.pixels import pack_store
from histogenesis.patches.place import place_patches
from histogenesis.patches.store import Cut, write_coords, write_store
from histogenesis.patches.views import read_context, read_padded, white_share
from histogenesis.slides.read import Slide
from histogenesis.slides.table import open_record
from histogenesis.tissue.files import Tissue, load_tissue, write_png

PICTURE_PX = 1000
COLOURS = [(31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207), (140, 86, 75)]


def cut_slide(
    record: Path,
    run_dir: Path,
    tissue_dir: Path,
    options: config.PatchSet,
    seed: int,
    out: Path,
    picture: Path,
    coords: Path,
    label: str | None = None,
) -> Cut:
    """Cut the patches of one slide and write the store, the coordinates for other tools, and a picture of the places.

    A slide that is set aside (or, with `on_finer_mpp: refuse`, is too coarse for an mpp) gives a valid, empty store whose
    `error` says why. label: the class of each patch; empty, it is refused, so that no patch goes unlabelled. OSError rises:
    it may pass.
    """
    name = json.loads(Path(record).read_text())["slide"]
    try:
        tissue = load_tissue(tissue_dir)
        if tissue.error:
            raise BadInput(tissue.error)
        if label == "":
            raise BadInput(f"{name}: the slide table gives it no `label`, which this patch set wants: fill it in")
        with open_record(record, run_dir) as slide:
            cut = choose(name, slide, tissue, options, seed)
            if label is not None:
                cut.texts["label"] = [label] * len(cut.coords)
            places = [(int(x), int(y), options.size_px, float(mpp)) for (x, y), mpp in zip(cut.coords, cut.mpp)]
            images = (read_padded(slide, *place, tissue.background) for place in shown_in(name, places))
            contexts = (read_context(slide, *place, options.context_ratio, tissue.background) for place in places)
            write_store(out, cut, images, contexts)
            if options.jpeg_quality:
                pack_store(out, options.jpeg_quality)
            shown = slide.overview(max(slide.mpp, max(slide.width_px, slide.height_px) * slide.mpp / PICTURE_PX))
    except BadInput as error:
        cut = Cut(name, options.size_px, error=str(error), context_ratio=options.context_ratio)
        cut.texts = {} if label is None else {"label": []}
        write_store(out, cut, [])
        shown = np.full((40, 40, 3), 242, np.uint8)
    write_coords(coords, cut, options.mpps)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    write_png(Path(picture), show_places(shown, cut, options.mpps))
    return cut


def shown_in(name: str, places: list) -> Iterable:
    """The places, with a bar that says how many are done."""
    return tqdm(places, desc=f"patches of {name}", unit="patch", mininterval=2)


def choose(name: str, slide: Slide, tissue: Tissue, options: config.PatchSet, seed: int) -> Cut:
    """The places of a slide's patches, mpp by mpp, and why an mpp has none. Raises BadInput if the recipe refuses the slide."""
    size_px = slide.width_px, slide.height_px
    cut = Cut(name, options.size_px, *size_px, slide.mpp, context_ratio=options.context_ratio)
    coords, mpps, shares = [cut.coords], [cut.mpp], [cut.tissue]
    for mpp in options.mpps:
        served, how = served_mpp(mpp, slide.mpp), options.placed(mpp)
        side_px = options.size_px * served / slide.mpp
        if is_finer(mpp, slide.mpp):
            cut.skipped[mpp] = f"finer than the slide's {slide.mpp:g} mpp"
            if options.on_finer_mpp == "refuse":
                raise BadInput(
                    f"{slide.path}: {mpp:g} mpp is {cut.skipped[mpp]}: leave it out of `mpps`, set `on_finer_mpp: skip`, or"
                    " remove the slide"
                )
            continue
        placed, share = place_patches(
            tissue.mask,
            tissue.mpp,
            slide.mpp,
            size_px,
            options.size_px,
            served,
            per_slide=options.per_slide,
            seed=seed,
            slide=name,
            **how,
        )
        if side_px > min(size_px) + 1e-6 and how["placement"] != "whole":
            cut.skipped[mpp] = f"the slide is smaller than a patch ({side_px:.0f} px of its own)"
        elif not len(placed):
            cut.skipped[mpp] = f"no place has {how['min_tissue']:.0%} tissue"
        elif options.white is not None:
            kept = [not too_white(slide, tissue, int(x), int(y), options, mpp) for x, y in placed]
            placed, share = placed[kept], share[kept]
            if not len(placed):
                cut.skipped[mpp] = f"every place is more than {options.white.share:.0%} white"
        coords.append(placed)
        mpps.append(np.full(len(placed), mpp))
        shares.append(share)
    cut.coords, cut.mpp, cut.tissue = np.concatenate(coords), np.concatenate(mpps), np.concatenate(shares)
    return cut


def too_white(slide: Slide, tissue: Tissue, x: int, y: int, options: config.PatchSet, mpp: float) -> bool:
    """Whether a patch is whiter than the recipe wants."""
    picture = read_padded(slide, x, y, options.size_px, mpp, tissue.background)
    return white_share(picture, options.white.above) > options.white.share


def show_places(shown: np.ndarray, cut: Cut, mpps: list[float]) -> np.ndarray:
    """The slide's overview with a box for each patch, coloured by mpp, and a legend above. uint8 (h, w, 3)"""
    lines = [f"{cut.slide}: {len(cut.coords)} patches of {cut.patch_px} px"]
    for mpp in mpps:
        count = int(np.isclose(cut.mpp, mpp).sum())
        true = served_mpp(mpp, cut.slide_mpp)
        own = f"{mpp:g} mpp" if true == mpp else f"{mpp:g} mpp (the slide's own {true:g})"
        lines.append(f"{own}, {cut.patch_px * true:g} um: {count or cut.skipped.get(mpp, 'none')}")
    lines += [cut.error] if cut.error else []
    margin, row = 6, 14
    size = (max(shown.shape[1], 640), shown.shape[0] + row * len(lines) + margin)
    page = Image.new("RGB", size, (255, 255, 255))
    page.paste(Image.fromarray(shown), (0, size[1] - shown.shape[0]))
    draw = ImageDraw.Draw(page)
    for k, line in enumerate(lines):
        colour = COLOURS[(k - 1) % len(COLOURS)] if 0 < k <= len(mpps) else (0, 0, 0)
        draw.text((margin, margin // 2 + row * k), line, fill=colour)
    ratio = shown.shape[1] / max(1, cut.width_px)
    top = size[1] - shown.shape[0]
    for k, mpp in sorted(enumerate(mpps), key=lambda item: -item[1]):
        side = cut.patch_px * served_mpp(mpp, cut.slide_mpp) / cut.slide_mpp * ratio
        for x, y in cut.coords[np.isclose(cut.mpp, mpp)] * ratio:
            draw.rectangle((x, y + top, x + side, y + top + side), outline=COLOURS[k % len(COLOURS)])
    return np.asarray(page)
