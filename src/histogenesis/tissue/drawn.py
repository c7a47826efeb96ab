"""Tissue that a person drew: read, and compared with the stain that is there, so that a wrong frame or unit does not pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely

from histogenesis.core.errors import BadInput
from histogenesis.tissue.geojson import areas_to_mask, check_inside, drawn_areas
from histogenesis.tissue.segment import segment_stain

NO_STAIN = 0.02  # of the drawn area: less, and it is not of this slide, or not in its pixels
LITTLE_STAIN = 0.25  # worth a question


def drawn_tissue(
    path: Path, picture: np.ndarray, mpp: float, scale: float, size_px: tuple[int, int], origin_px: tuple[int, int]
) -> tuple[np.ndarray, list[str]]:
    """bool (h, w) and warnings. picture: the slide at `mpp`, `scale` slide pixels a pixel; size_px, origin_px: of the scanned
    part.

    Coordinates are those that QuPath shows. Raises BadInput as `geojson_to_mask` does, and for an outline with no stain in it;
    then it says whether there would be one in micrometres, upside down, or counted from the corner of the whole plane.
    """
    tissue, cut, warnings = drawn_areas(Path(path))
    stain = segment_stain(picture, mpp, np.ones(picture.shape[:2], bool), guard=False).mask

    def mask_of(move=None) -> np.ndarray:
        moved, moved_cut = ([shapely.transform(a, move) if move else a for a in part] for part in (tissue, cut))
        return areas_to_mask(moved, moved_cut, picture.shape[:2], scale)

    def stained(mask: np.ndarray) -> float:
        return float((mask & stain).sum() / mask.sum()) if mask.any() else 0.0

    mask = mask_of()
    share = stained(mask)
    if share >= NO_STAIN or not stain.any():
        check_inside(path, tissue, *size_px)
        if share < LITTLE_STAIN and stain.any():
            warnings.append(f"{Path(path).name}: only {share:.0%} of the drawn tissue is stained: is it of this slide?")
        return mask, warnings
    height, um = size_px[1], mpp / scale
    others = {
        "in micrometres (export them in pixels)": lambda xy: xy / um,
        "upside down (y counted from below)": lambda xy: np.stack([xy[:, 0], height - xy[:, 1]], 1),
        "counted from the corner of the whole plane (QuPath counts from that of the scanned part)": lambda xy: (
            xy - origin_px
        ),
    }
    found = {words: stained(mask_of(move)) for words, move in others.items()}
    words = max(found, key=found.get)
    hint = (
        f": the coordinates seem to be {words}: {found[words]:.0%} would be stained"
        if found[words] > LITTLE_STAIN
        else ""
    )
    if not hint:
        check_inside(path, tissue, *size_px)
    raise BadInput(
        f"{path}: {share:.0%} of the drawn tissue is stained{hint}: export it again from QuPath, of this slide, or leave the"
        " column `tissue` empty"
    )
