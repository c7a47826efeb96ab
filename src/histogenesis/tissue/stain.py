"""Colour that tells stained tissue from glass, dust and ink, in Lab: the help that structure alone needs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.color import rgb2lab

from histogenesis.core.geometry import px_of_mm2

GLASS = (242, 242, 242)  # near white, where a picture shows no glass of its own
SMOOTH_UM = 8.0  # noise of the camera and of JPEG is averaged over this
LEAST_SMOOTH_PX = 0.6  # in coarse pictures, which a model may have drawn with noise
SMOOTH = 0.6  # steps of lightness from pixel to pixel on glass, after smoothing; on tissue they are several
STAINED_CHROMA = 5.0  # distance from glass in (a, b) of Lab
MARK_MM2 = 0.01  # a smaller spot in an ink's colour is no pen mark,
MARK_SHARE = 0.02  # unless it covers this share of the picture
FRINGE_UM = 30.0  # a pen mark's blurred border
MOST = 0.3  # blue or black over more of the tissue than this is the stain itself


def smooth_lab(picture: np.ndarray, mpp: float) -> np.ndarray:
    """Lab of the picture, noise averaged out. uint8 (h, w, 3) -> float32 (h, w, 3)"""
    lab = rgb2lab(picture.astype(np.float32) / 255)
    sigma_px = max(SMOOTH_UM / mpp, LEAST_SMOOTH_PX)
    return ndimage.gaussian_filter(lab, (sigma_px, sigma_px, 0), mode="nearest")


def glass_colour(lab: np.ndarray) -> np.ndarray:
    """Lab of bare glass: the median of the brightest tenth, if that is bright and grey, or smooth, of whatever tint; else near
    white. (3,)"""
    lightness = lab[..., 0]
    bright = lightness >= np.quantile(lightness, 0.9)
    glass = np.median(lab[bright], axis=0)
    if glass[0] >= 70 and np.hypot(glass[1], glass[2]) <= 8:
        return glass
    if min(lightness.shape) > 1 and np.median(np.hypot(*np.gradient(lightness))[bright]) <= SMOOTH:
        return glass
    return rgb2lab(np.array([[GLASS]], np.uint8))[0, 0].astype(np.float32)


def stained(lab: np.ndarray, chroma: float = STAINED_CHROMA) -> np.ndarray:
    """Where the picture has a colour that glass and black dust lack. bool (h, w)"""
    glass = glass_colour(lab)
    return np.hypot(lab[..., 1] - glass[1], lab[..., 2] - glass[2]) > chroma


def lab_of(picture: np.ndarray) -> np.ndarray:
    """Lab of uint8 (h, w, 3): float32 (h, w, 3)."""
    return rgb2lab(picture.astype(np.float32) / 255)


def ink_colours(lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where Lab colours are those of a pen and of no stain (green, bright red), and where perhaps (blue, black). bool (h, w)"""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    chroma = np.hypot(a, b)
    never_a_stain = ((a < -10) & (chroma > 12)) | ((a > 42) & (b > 22))
    perhaps = ((b < -18) & (a < -0.4 * b)) | ((b < -48) & (a < -0.5 * b)) | ((lightness < 18) & (chroma < 12))
    return never_a_stain, perhaps


def pen_marks(lab: np.ndarray, tissue: np.ndarray, mpp: float) -> np.ndarray:
    """Marks in a pen's colours: green, bright red, blue or black, each over a least area. bool (h, w)

    lab: (h, w, 3) from `smooth_lab`; tissue: bool (h, w), the mask in which they may lie. Haematoxylin is as blue as a pen but
    redder, and a fold in it as dark but not grey; eosin and blood are as red but less yellow. Blue or black that covers
    much of the tissue is taken for the stain. What is weakly of such a colour and touches a mark is its smear.
    """
    lightness, a, b = np.moveaxis(lab, -1, 0)
    chroma = np.hypot(a, b)
    never_a_stain, perhaps = ink_colours(lab)
    smear = ((a < -3) & (chroma > 5)) | ((a > 10) & (b > 4)) | ((lightness < 40) & (chroma < 15))
    least_px = min(px_of_mm2(MARK_MM2, mpp), MARK_SHARE * tissue.size)
    marks = large_parts(never_a_stain, least_px)
    more = large_parts(perhaps, least_px)
    if (more & tissue).sum() <= MOST * tissue.sum():
        marks |= more
    if not marks.any():
        return marks
    parts, _ = ndimage.label(marks | smear, structure=np.ones((3, 3)))
    marks = np.isin(parts, np.unique(parts[marks]))
    return ndimage.distance_transform_edt(~marks) * mpp <= FRINGE_UM


def large_parts(mask: np.ndarray, least_px: float) -> np.ndarray:
    """The connected parts of at least `least_px` pixels. bool (h, w)"""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    areas[0] = 0
    return (areas >= max(least_px, 1))[parts]
