"""How good a patch is, in four numbers that cost little: sharpness, ink, seam, stain."""

from __future__ import annotations

import numpy as np
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.recipe import Quality
from histogenesis.tissue.stain import ink_colours, lab_of

COLUMNS = ("sharpness", "ink", "seam", "stain")
LOOKED_AT_PX = 128  # of a patch, about its centre, for sharpness
COLOUR_PX = 16  # of a patch's side, averaged, on which colours are judged
STAINED_CHROMA = 5.0  # distance from glass in (a, b) of Lab
LIMITS = {  # key of the recipe -> column, whether it is a least, what a patch that fails it is called
    "min_sharpness": ("sharpness", True, "not sharp"),
    "max_ink": ("ink", False, "ink"),
    "max_seam": ("seam", False, "seam"),
    "min_stain": ("stain", True, "no stain"),
}


def quality_of(patch: np.ndarray, background: np.ndarray) -> tuple[float, float, float, float]:
    """(sharpness, ink, seam, stain) of a patch, uint8 (p, p, 3); background: the glass's colour, uint8 (3,).

    sharpness: energy of the Laplacian of green over that of its gradient (Pech-Pacheco 2000's measure, made free of contrast):
    about 3 for white noise, under 0.3 out of focus. ink, stain: shares of the patch in the colours of pens, and in a colour
    that glass has not. seam: the steepest line of pixels from edge to edge over the median line: 1 to 2 in tissue.
    """
    p = patch.shape[0]
    start = max(0, (p - LOOKED_AT_PX) // 2)
    green = patch[start : p - start, start : p - start, 1].astype(np.float32)
    inner = green[1:-1, 1:-1]
    laplacian = green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:] - 4 * inner
    gradient = (green[1:-1, 2:] - green[1:-1, :-2]) ** 2 + (green[2:, 1:-1] - green[:-2, 1:-1]) ** 2
    sharpness = float((laplacian**2).mean() / (gradient.mean() + 1.0))
    lines = patch[:: max(1, p // 32), :, 1].astype(np.int16), patch[:, :: max(1, p // 32), 1].astype(np.int16)
    seam = max(_steepest(np.abs(np.diff(part, axis=axis)).mean(axis=1 - axis)) for part, axis in zip(lines, (1, 0)))
    small = np.asarray(Image.fromarray(patch).reduce(max(1, p // COLOUR_PX)))
    lab, glass = lab_of(small), lab_of(np.asarray(background, np.uint8).reshape(1, 1, 3))[0, 0]
    stain = float((np.hypot(*(lab - glass)[..., 1:].transpose(2, 0, 1)) > STAINED_CHROMA).mean())
    never, _ = ink_colours(lab)
    return sharpness, float(never.mean()), seam, stain


def _steepest(steps: np.ndarray) -> float:
    """The largest mean step between neighbouring lines over the median one; a grey level is added to both."""
    return float((steps.max() + 1) / (np.median(steps) + 1)) if len(steps) else 1.0


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
