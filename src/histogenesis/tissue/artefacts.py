"""What on a slide is no tissue to learn from: pens, dust, folds, black, unscanned, damaged; each by a mask of its own.

Judged on the picture with its glass made white (`tissue.glass`), so that a tinted slide is judged as a clear one. A colour that
covers much of the tissue is the stain, whatever pens have it (methyl green, blue nuclei of immunohistochemistry).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from histogenesis.core.geometry import px_of_mm2
from histogenesis.tissue.glass import WHITE, Glass, grown, whitened

COLOURS = {  # of the overlay
    "pen": (0, 90, 255),
    "dust": (120, 120, 120),
    "fold": (255, 0, 200),
    "out_of_focus": (255, 120, 0),
    "black": (0, 0, 0),
    "unscanned": (90, 60, 30),
    "damaged": (255, 0, 0),
}
KINDS = tuple(COLOURS)
BLACK = 8  # grey levels; masked, or beyond the slide's edge
LEAST_BLACK = 0.002  # share of the picture in one piece: less is a speck
MARK_MM2 = 0.01  # a smaller spot in an ink's colour is no pen mark
MOST = 0.3  # of the tissue: blue or black that covers more is the stain,
MOST_GREEN = 0.8  # and so is green or red, which few stains are
SMEAR_UM = 60.0  # about a mark all that is as weakly coloured is its smear
DARK = 60  # under glass, without colour: dust, a hair
FOLD_DENSITY = 1.7  # optical density over that of the tissue about it: two layers have 2
FOLD_USUAL = 2.0  # and over what is usual on the slide: epithelium amid pale stroma is no fold
FOLD_HUE = 0.06  # largest difference of its colour's direction (share of each channel) from the tissue's
FOLD_UM = 25.0  # folds are wider than this,
AROUND_UM = 400.0  # and are compared with the tissue within this


def find_artefacts(picture: np.ndarray, mpp: float, glass: Glass, tissue: np.ndarray, valid: np.ndarray) -> dict:
    """kind -> bool (h, w): pen, dust, fold. picture: uint8 (h, w, 3); tissue: what a method found; valid: what is judged."""
    white = np.asarray(
        whitened(Image.fromarray(picture), glass.colour).filter(ImageFilter.BoxBlur(max(0.5, 5.0 / mpp)))
    )
    red, green, blue = (white[..., k].astype(np.int16) for k in range(3))
    marks = pen_marks(red, green, blue, tissue, mpp) & valid
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    dust = (largest < WHITE - DARK) & (largest - smallest < 25) & ~tissue & ~marks & valid
    fold = folds(white, mpp, tissue & ~marks & valid)
    return {"pen": marks, "dust": grown(dust, 1) & ~tissue & valid, "fold": fold}


def pen_marks(red: np.ndarray, green: np.ndarray, blue: np.ndarray, tissue: np.ndarray, mpp: float) -> np.ndarray:
    """Marks of a pen and their smear. bool (h, w); channels int16, of the picture with white glass.

    Haematoxylin has more red than green, blue ink has not; eosin and blood have more blue than green, red ink has not; nuclei
    keep a colour, black ink has none.
    """
    least_px = max(1.0, px_of_mm2(MARK_MM2, mpp))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    total = red + green + blue
    inks = [  # surely, weakly, and the share of the tissue from which on it is the stain
        (green - np.maximum(red, blue) > 12, green - np.maximum(red, blue) > 3, MOST_GREEN),
        ((green - red > 4) & (blue - green > 22), (green - red > -6) & (blue - green > 8), MOST),
        ((red - green > 95) & (5 * (blue - green) < red - green), (red - green > 25) & (blue - green < 10), MOST_GREEN),
        ((total < 200) & (spread < 75), (total < 420) & (spread < 75), MOST),
    ]
    found = np.zeros(tissue.shape, bool)
    for strong, weak, most in inks:
        marks = _large(strong, least_px)
        if not marks.any() or (marks & tissue).sum() > most * tissue.sum() > 0:
            continue
        for _ in range(
            max(1, round(SMEAR_UM / mpp / 4))
        ):  # outwards through what is weakly of the colour, and no further
            marks = marks | (grown(marks, 4) & weak)
        if (marks & tissue).sum() > MOST_GREEN * tissue.sum() > 0:
            continue
        found |= grown(marks, 1.5)
    return found


def folds(white: np.ndarray, mpp: float, tissue: np.ndarray) -> np.ndarray:
    """Where the tissue lies in two layers: twice as dense as around, in the same colour, and all that is as dense beside it.

    bool (h, w)
    """
    if not tissue.any():
        return tissue
    density = -np.log((np.minimum(white, WHITE).astype(np.float32) + 1) / (WHITE + 1))
    step = max(1, round(40 / mpp))
    size = max(3, 2 * round(AROUND_UM / mpp / step / 2) + 1)
    weight = ndimage.uniform_filter(tissue[::step, ::step].astype(np.float32), size)
    about = np.empty_like(density)
    for k in range(3):
        coarse = ndimage.uniform_filter(np.where(tissue, density[..., k], 0)[::step, ::step], size) / np.maximum(
            weight, 1e-3
        )
        about[..., k] = np.kron(coarse, np.ones((step, step), np.float32))[: tissue.shape[0], : tissue.shape[1]]
    total, around = ndimage.uniform_filter(density.sum(-1), max(1, round(FOLD_UM / mpp))), about.sum(-1)
    hue = np.abs(density / np.maximum(total, 0.05)[..., None] - about / np.maximum(around, 0.05)[..., None]).max(-1)
    usual = np.median(total[tissue])
    sure = tissue & (total > FOLD_USUAL * usual) & (total > FOLD_DENSITY * around) & (hue < FOLD_HUE)
    wide = ndimage.binary_opening(sure, iterations=max(1, int(FOLD_UM / mpp / 2)))
    seeds = _large(wide, max(2.0, px_of_mm2(MARK_MM2, mpp)))
    return ndimage.binary_propagation(seeds, mask=tissue & (total > FOLD_DENSITY * usual)) if seeds.any() else seeds


def black_parts(picture: np.ndarray) -> np.ndarray:
    """Masked background, and what lies beyond the scanned edge: black in pieces of some size. bool (h, w)"""
    black = picture.max(axis=2) <= BLACK
    return _large(black, LEAST_BLACK * black.size) if black.any() else black


def places_to_mask(places: list[tuple[float, float, float, float]], size: tuple[int, int], scale: float) -> np.ndarray:
    """Rectangles (x, y, width, height) of slide pixels as a mask of `scale` slide pixels a pixel. bool (h, w)"""
    mask = np.zeros(size, bool)
    for x, y, width, height in places:
        top, left = max(0, int(y / scale)), max(0, int(x / scale))
        mask[top : int(np.ceil((y + height) / scale)), left : int(np.ceil((x + width) / scale))] = True
    return mask


def _large(mask: np.ndarray, least_px: float) -> np.ndarray:
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    large = np.bincount(parts.ravel(), minlength=count + 1) >= least_px
    large[0] = False
    return large[parts]
