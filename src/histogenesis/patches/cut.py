"""Cut one slide's patches: choose the places, read them, store them, and show where they were."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, served_mpp
from histogenesis.patches.pixels import pack_store
from histogenesis.patches.place import place_patches
from histogenesis.patches.quality import COLUMNS, contact_sheet, failed, quality_of
from histogenesis.patches.store import Cut, write_coords, write_store
from histogenesis.patches.views import read_context, read_padded, white_share
from histogenesis.slides.read import DamagedPlace, Slide
from histogenesis.slides.table import open_record
from histogenesis.tissue.files import Tissue, load_tissue, write_png

PICTURE_PX = 1000
SHOWN_LEFT_OUT = 48
COLOURS = [(31, 119, 180), (214, 39, 40), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207), (140, 86, 75)]

Row = tuple[int, tuple[int, int, int, float]]  # of a patch: its number, and its place (x, y, size, mpp)


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
            before = cut.mpp.copy()
            images = Reading(slide, tissue.background, cut, options)
            write_store(out, cut, images, contexts(slide, tissue.background, cut, options))
            if options.jpeg_quality:
                pack_store(out, options.jpeg_quality)
            for mpp in sorted(set(before.tolist()) - set(cut.mpp.tolist())):
                cut.skipped[mpp] = f"every place was left out ({', '.join(cut.left_out)})"
            shown = slide.overview(max(slide.mpp, max(slide.width_px, slide.height_px) * slide.mpp / PICTURE_PX))
            if images.left_out:
                sheet = Path(picture).parent / "left_out" / f"{name}.png"
                sheet.parent.mkdir(parents=True, exist_ok=True)
                write_png(sheet, contact_sheet(images.left_out))
    except BadInput as error:
        cut = Cut(name, options.size_px, error=str(error), context_ratio=options.context_ratio)
        cut.texts = {} if label is None else {"label": []}
        write_store(out, cut, [])
        shown = np.full((40, 40, 3), 242, np.uint8)
    write_coords(coords, cut, options.mpps)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    write_png(Path(picture), show_places(shown, cut, options.mpps))
    return cut


class Reading:
    """The pictures at a cut's places, one after another; None for those that are damaged, too white, or beyond the recipe's
    limits of quality, which are counted in `cut.left_out`. `left_out`: the first of them, with the reason."""

    def __init__(self, slide: Slide, background: np.ndarray, cut: Cut, options: config.PatchSet):
        self.slide, self.background, self.cut, self.options = slide, background, cut, options
        self.left_out: list[tuple[str, np.ndarray]] = []
        cut.columns = {column: np.full(len(cut.coords), np.nan, np.float32) for column in COLUMNS}

    def __iter__(self) -> Iterator[np.ndarray | None]:
        for k, place in shown_in(self.cut.slide, places_of(self.cut)):
            try:
                patch = read_padded(self.slide, *place, self.background)
            except DamagedPlace:
                self._leave_out("damaged", np.zeros((1, 1, 3), np.uint8))
                yield None
                continue
            if why := self._refused(k, patch):
                self._leave_out(why, patch)
                yield None
                continue
            yield patch

    def _refused(self, k: int, patch: np.ndarray) -> str:
        skip = self.options.skip_background
        if skip is not None and white_share(patch, skip.above) > skip.share:
            return f"more than {skip.share:.0%} white"
        quality = quality_of(patch, self.background)
        for column, value in zip(COLUMNS, quality):
            self.cut.columns[column][k] = value
        return failed(quality, self.options.quality)

    def _leave_out(self, why: str, patch: np.ndarray) -> None:
        self.cut.left_out[why] = self.cut.left_out.get(why, 0) + 1
        if len(self.left_out) < SHOWN_LEFT_OUT:
            self.left_out.append((why, patch))


def places_of(cut: Cut) -> list[Row]:
    """(row, (x, y, size, mpp)) of each place."""
    places = zip(cut.coords.tolist(), cut.mpp.tolist())
    return [(k, (x, y, cut.patch_px, mpp)) for k, ((x, y), mpp) in enumerate(places)]


def contexts(slide: Slide, background: np.ndarray, cut: Cut, options: config.PatchSet) -> Iterator[np.ndarray]:
    """The wider views about the patches that were kept, which are known when the first one is asked for."""
    for _, place in places_of(cut):
        yield read_context(slide, *place, options.context_ratio, background)


def shown_in(name: str, places: list[Row]) -> Iterable[Row]:
    """The places, with a bar that says how many are done."""
    return tqdm(places, desc=f"patches of {name}", unit="patch", mininterval=2)


def choose(name: str, slide: Slide, tissue: Tissue, options: config.PatchSet, seed: int) -> Cut:
    """The places of a slide's patches, mpp by mpp, and why an mpp has none. Raises BadInput if the recipe refuses the slide."""
    size_px = slide.width_px, slide.height_px
    cut = Cut(name, options.size_px, *size_px, slide.mpp, context_ratio=options.context_ratio)
    cut.origin_px = slide.origin_px
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
        elif how["placement"] == "whole" and side_px < max(size_px) - 1e-6:
            in_it = share[0] * side_px**2 / (tissue.mask.sum() * (tissue.mpp / slide.mpp) ** 2)
            width_mm, height_mm, side_mm = (1e-3 * n * slide.mpp for n in (*size_px, side_px))
            cut.cropped[mpp] = (
                f"the slide has {width_mm:.1f} x {height_mm:.1f} mm, its one patch {side_mm:.1f}, about the slide's centre,"
                f" with {min(1.0, in_it):.0%} of the tissue"
            )
        coords.append(placed)
        mpps.append(np.full(len(placed), mpp))
        shares.append(share)
    cut.coords, cut.mpp, cut.tissue = np.concatenate(coords), np.concatenate(mpps), np.concatenate(shares)
    return cut


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
