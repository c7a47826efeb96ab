"""A slide's tissue on disk: mask.png, tissue.geojson, overlay.png, qc.json in one folder. Written, and read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.core.files import write_text, written
from histogenesis.core.geometry import mm2_of, px_of_mm2, served_mpp
from histogenesis.core.whole import load_json
from histogenesis.slides.table import open_record
from histogenesis.tissue.artefacts import COLOURS, black_parts, places_to_mask
from histogenesis.tissue.drawn import drawn_tissue
from histogenesis.tissue.focus import out_of_focus
from histogenesis.tissue.geojson import mask_to_geojson
from histogenesis.tissue.segment import Segmentation, background_colour, histolab_own, segment, segment_stain
from histogenesis.tissue.stain import GLASS, large_parts, smooth_lab

OVERLAY_PX = 1200
OUTLINE = (0, 150, 0)
DIMMED = (255, 205, 60)
WORTH_A_WORD = 1e-4  # of the slide
WORDS = {
    "pen": "pen mark?",
    "dust": "dust:",
    "fold": "fold?",
    "out_of_focus": "out of focus:",
    "black": "black (masked, or beyond the scan):",
    "unscanned": "not scanned:",
    "damaged": "damaged:",
}


@dataclass(frozen=True)
class Tissue:
    """What a tissue folder says. mask: bool (h, w) at `mpp`; background: uint8 (3,); error: why the slide is set aside."""

    mask: np.ndarray
    mpp: float
    background: np.ndarray
    area_mm2: float
    warnings: list[str]
    error: str | None


def load_tissue(folder: Path) -> Tissue:
    """Read mask.png and qc.json. Raises OSError where they cannot be read."""
    qc = load_json(Path(folder) / "qc.json")
    with Image.open(Path(folder) / "mask.png") as picture:
        mask = np.asarray(picture.convert("L")) >= 128
    background = np.array(qc["background"], np.uint8)
    return Tissue(mask, qc["mpp"], background, qc["area_mm2"], qc["warnings"], qc["error"])


def segment_slide(
    record: Path, run_dir: Path, options: config.Tissue, out_dir: Path, edited: Path | None = None
) -> dict:
    """Find a slide's tissue, or take what a person drew (`edited`, GeoJSON), and write the folder. Returns qc.json's content.

    A slide that is set aside, and a GeoJSON that cannot be used, give valid, empty files whose `error` says why. The mask is
    at the recipe's mpp, or at the slide's where that is coarser. OSError rises: it may pass.
    """
    name = load_json(Path(record))["slide"]
    try:
        with open_record(record, run_dir) as slide:
            mpp = served_mpp(max(options.mpp, slide.mpp), slide.mpp)
            picture, scale = slide.overview(mpp), mpp / slide.mpp
            size_px = slide.width_px, slide.height_px
            lost = {
                "unscanned": slide.unscanned(mpp),
                "damaged": places_to_mask(slide.damaged, picture.shape[:2], scale),
                "black": black_parts(picture),
            }
            if edited is None:
                found = automatic(picture, mpp, options, ~np.logical_or.reduce(list(lost.values())), size_px)
                if options.guard:
                    soft, warnings = out_of_focus(slide, found.mask, mpp)
                    found = left_out(found, {"out_of_focus": soft}, warnings)
            else:
                mask, warnings = drawn_tissue(edited, picture, mpp, scale, size_px, slide.origin_px)
                background, more = background_colour(picture, smooth_lab(picture, mpp), mask)
                found = Segmentation(mask, background, warnings + more)
            found = left_out(found, lost, [])
    except BadInput as error:
        blank = np.full((1, 1, 3), GLASS, np.uint8)
        empty = Segmentation(np.zeros((1, 1), bool), blank[0, 0], ["set aside"])
        return write_tissue(
            out_dir, name, blank, options.mpp, empty, 1.0, (1, 1), "user" if edited else options.method, str(error)
        )
    return write_tissue(out_dir, name, picture, mpp, found, scale, size_px, "user" if edited else options.method)


def automatic(
    picture: np.ndarray, mpp: float, options: config.Tissue, valid: np.ndarray, size_px: tuple[int, int]
) -> Segmentation:
    """Tissue by the recipe's method. valid: bool (h, w), what was scanned and can be read; size_px: of the slide."""
    found = segment_stain(picture, mpp, valid, options.guard)
    if options.method == "histolab":
        found = Segmentation(histolab_own(picture, size_px), found.background, [], found.artefacts)
    elif options.method != "stain":
        shown = np.where(valid[..., None], picture, found.background)  # what was not scanned is no tissue
        other = segment(shown, mpp, options.method, options.border_background, options.guard)
        found = Segmentation(other.mask, other.background, other.warnings, found.artefacts)
    if options.guard:
        found = left_out(found, found.artefacts, [])
    if options.min_area_mm2:
        mask = large_parts(found.mask, px_of_mm2(options.min_area_mm2, mpp))
        too_small = found.mask.any() and not mask.any()
        more = ["no tissue was found: each part is smaller than min_area_mm2"] if too_small else []
        found = Segmentation(mask, found.background, found.warnings + more, found.artefacts)
    return found


def left_out(found: Segmentation, artefacts: dict[str, np.ndarray], warnings: list[str]) -> Segmentation:
    """The same without these places, which are noted; a line for each kind that took away some tissue, or pen at all."""
    mask, lines = found.mask, list(found.warnings) + warnings
    for kind, where in artefacts.items():
        share = where.mean()
        told = any(line.startswith(WORDS[kind]) for line in lines)
        if share > WORTH_A_WORD and kind != "dust" and not told:
            lines.append(f"{WORDS[kind]} {share:.2%} of the slide is left out")
        mask = mask & ~where
    return Segmentation(mask, found.background, lines, {**found.artefacts, **artefacts})


def write_tissue(
    out_dir: Path,
    slide: str,
    picture: np.ndarray,
    mpp: float,
    found: Segmentation,
    scale: float,
    size_px: tuple[int, int],
    source: str,
    error: str | None = None,
) -> dict:
    """Write the four files, each to a temporary name first. scale: slide pixels per mask pixel; size_px: slide (w, h)."""
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    height, width = found.mask.shape
    qc = {
        "slide": slide,
        "mpp": mpp,
        "width_px": width,
        "height_px": height,
        "area_mm2": round(mm2_of(float(found.mask.sum()), mpp), 6),
        "fraction": round(found.fraction, 6),
        "background": [int(v) for v in found.background],
        "shares": {kind: round(float(where.mean()), 6) for kind, where in found.artefacts.items()},
        "warnings": found.warnings,
        "source": source,
        "error": error,
    }
    write_png(out_dir / "mask.png", found.mask.astype(np.uint8) * 255)
    write_text(out_dir / "tissue.geojson", json.dumps(mask_to_geojson(found.mask, scale, *size_px, slide)))
    write_png(out_dir / "overlay.png", overlay(picture, found.mask, found.artefacts))
    write_text(out_dir / "qc.json", json.dumps(qc, indent=1) + "\n")
    return qc


def overlay(picture: np.ndarray, mask: np.ndarray, artefacts: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """The picture with what is not tissue dimmed, tissue outlined, and artefacts in their colours (`artefacts.COLOURS`).

    At most OVERLAY_PX wide or high. uint8 (h, w, 3)
    """
    shrink = max(1.0, max(mask.shape) / OVERLAY_PX)
    size = (max(1, round(mask.shape[1] / shrink)), max(1, round(mask.shape[0] / shrink)))
    small = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    inside = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) >= 128
    small[~inside] = (0.6 * small[~inside] + 0.4 * np.array(DIMMED)).astype(np.uint8)
    small[ndimage.binary_dilation(inside, iterations=2) & ~inside] = OUTLINE
    for kind, where in (artefacts or {}).items():
        there = np.asarray(Image.fromarray(where.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) >= 64
        small[there] = (0.4 * small[there] + 0.6 * np.array(COLOURS[kind])).astype(np.uint8)
    return small


def write_png(path: Path, picture: np.ndarray) -> None:
    """A picture (uint8 (h, w) or (h, w, 3)), whole or not at all."""
    with written(path) as part:
        Image.fromarray(picture).save(part, format="PNG")
