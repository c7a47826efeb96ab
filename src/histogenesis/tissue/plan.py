"""Which part of a drawn level 0 is refined: its tissue, and the colour of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import ndimage

from histogenesis import recipe as config
from histogenesis.core.files import write_text
from histogenesis.core.hdf5 import reading
from histogenesis.tissue.files import overlay, write_png
from histogenesis.tissue.segment import Segmentation, segment_coarse
from histogenesis.tissue.stain import smooth_lab, stained


def plan_tissue(
    level_h5: Path, options: config.TissuePlan, mask_png: Path, plan_json: Path, picture: Path | None = None
) -> dict:
    """Read a canvas's level 0, find its tissue, and write the plan: one pixel of `mask_png` for each of level 0 (0 or 255).

    Returns plan.json's content: slide, mpp, fraction, background [r, g, b], warnings.
    """
    with reading(level_h5) as canvas:
        image, mpp, slide = canvas["image"][:], float(canvas.attrs["mpp"]), str(canvas.attrs.get("slide", ""))
    found = find_plan(image, mpp, options)
    plan = {
        "slide": slide,
        "mpp": mpp,
        "fraction": round(found.fraction, 6),
        "background": [int(v) for v in found.background],
        "warnings": found.warnings,
    }
    for path in filter(None, (mask_png, plan_json, picture)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_png(Path(mask_png), found.mask.astype(np.uint8) * 255)
    if picture:
        write_png(Path(picture), overlay(image, found.mask))
    write_text(Path(plan_json), json.dumps(plan, indent=1) + "\n")
    return plan


def find_plan(image: np.ndarray, mpp: float, options: config.TissuePlan) -> Segmentation:
    """The tissue of level 0 by the method and what else is stained, grown by the margin, on its own grid.

    image: uint8 (h, w, 3). On a level of few pixels a method rounds corners off, and what it leaves out would end in a straight
    cut at the finer levels: so it may add to what has a stain's colour, and takes nothing from it.
    """
    found = segment_coarse(image, mpp, options.mpp or mpp / 4, options.method)
    mask = found.mask | stained(smooth_lab(image, mpp))
    if options.margin_px and mask.any():
        mask = ndimage.distance_transform_edt(~mask) <= options.margin_px
    warnings = list(found.warnings)
    if not mask.any():
        warnings.append("nothing will be refined: all of the slide is background")
    return Segmentation(mask, found.background, warnings)
