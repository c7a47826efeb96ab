"""How good a patch is, in four numbers that cost little: sharpness, ink, seam, stain."""

from __future__ import annotations

import numpy as np
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.recipe import Quality
from histogenesis.tissue.focus import line_steps, sharpness
from histogenesis.tissue.stain import ink_colours, lab_of

COLUMNS = ("sharpness", "ink", "seam", "stain")
COLOURS = 24  # pixels along each side of a patch on which colours are judged
STAINED_CHROMA = 5.0  # distance from glass in (a, b) of Lab
LIMITS = {  # key of the recipe -> column, whether it is a least, what a patch that fails it is called
    "min_sharpness": ("sharpness", True, "not sharp"),
    "max_ink": ("ink", False, "ink"),
    "max_seam": ("seam", False, "seam"),
    "min_stain": ("stain", True, "no stain"),
}


def quality_of(patch: np.ndarray, background: np.ndarray) -> tuple[float, float, float, float]:
    """(sharpness, ink, seam, stain) of a patch, uint8 (p, p, 3); background: the glass's colour, uint8 (3,).

    sharpness: energy of the second differences of green over that of the first, along some rows and columns: 3 for white
    noise, over 0.5 for cells in focus, under 0.2 out of it, whatever the contrast. ink, stain: shares of the patch in the
    colours of pens, and in a colour that glass has not. seam: the largest step from edge to edge, all in
    one direction as where two fields of a scan meet, over the median such step.
    """
    green, step = patch[..., 1], max(1, patch.shape[0] // COLOURS)
    seam = max(_steepest(green.sum(axis=axis, dtype=np.uint32) / patch.shape[0]) for axis in (0, 1))
    lab, glass = (
        lab_of(patch[step // 2 :: step, step // 2 :: step]),
        lab_of(np.asarray(background, np.uint8)[None, None])[0, 0],
    )
    stain = float((np.hypot(lab[..., 1] - glass[1], lab[..., 2] - glass[2]) > STAINED_CHROMA).mean())
    return sharpness(line_steps(green)), float(ink_colours(lab)[0].mean()), seam, stain


def _steepest(means: np.ndarray) -> float:
    """The largest step between the means of neighbouring lines over the median one; half a grey level is added to both."""
    steps = np.abs(np.diff(means))
    return float((steps.max() + 0.5) / (np.median(steps) + 0.5)) if len(steps) else 1.0


def failed(quality: tuple[float, ...], limits: Quality) -> str:
    """What a patch fails of the recipe's limits, the first of them; empty if it passes."""
    found = dict(zip(COLUMNS, quality))
    for key, (column, least, name) in LIMITS.items():
        limit = getattr(limits, key)
        if limit is not None and (found[column] < limit if least else found[column] > limit):
            return name
    return ""


def contact_sheet(left_out: list[tuple[str, np.ndarray]], side_px: int = 96, columns: int = 12) -> np.ndarray:
    """Patches that were left out, each with the reason above it: uint8 (h, w, 3)."""
    from PIL import ImageDraw

    if not left_out:
        raise BadInput("nothing was left out, so there is no sheet of it")
    rows, text = -(-len(left_out) // columns), 14
    page = Image.new("RGB", (min(columns, len(left_out)) * (side_px + 4), rows * (side_px + text + 4)), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    for k, (why, patch) in enumerate(left_out):
        x, y = k % columns * (side_px + 4), k // columns * (side_px + text + 4)
        draw.text((x, y), why, fill=(0, 0, 0))
        page.paste(Image.fromarray(patch).resize((side_px, side_px), Image.Resampling.BOX), (x, y + text))
    return np.asarray(page)
