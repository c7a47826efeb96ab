"""Tissue by its difference from the slide's own glass: no colour is fixed in advance, neither of glass nor of a stain.

1. Glass is the brightest smooth colour that the slide has enough of. Every pixel is divided by it, so that yellowed, tinted or
   grey glass becomes white, and what is left is what the tissue takes away.
2. Stain is colour that is left: the spread between the three channels. How much glass itself spreads is measured on the slide,
   and tissue is what lies above that by a part of the slide's own contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter
from scipy import ndimage

WHITE = 245  # what glass becomes
SMOOTH_STEP = 3  # grey levels between neighbouring pixels of a coarse picture: glass has no more
LEAST_GLASS = 0.003  # share of the picture that is of one brightness, and smooth, to be taken for glass
MOSTLY_SMOOTH = 0.5  # of the pixels of glass's brightness
BRIGHT = 0.55  # of the brightest pixels' brightness: darker is not glass
PART_OF_CONTRAST = 0.12  # of the slide's own, above the glass's noise, from which on there is tissue
LEAST_CONTRAST = 6.0  # grey levels of spread over glass: a slide with less holds no stain
SEED = 2.0  # a part of the tissue reaches this many thresholds somewhere
SMOOTH_UM = 8.0
RADIUS_UM = 40.0  # parts with less area than such a disk's are dust
GAP_UM = 15.0  # between cells of one tissue
HOLE_UM = 250.0  # radius of holes that belong to the tissue: fat, lumens


@dataclass(frozen=True)
class Glass:
    """colour: uint8 (3,); found: whether the slide shows any glass; spread: of the channels of glass made white."""

    colour: np.ndarray
    found: bool
    spread: float


def find_glass(picture: np.ndarray, valid: np.ndarray, fallback: tuple[int, int, int]) -> Glass:
    """The slide's glass. picture: uint8 (h, w, 3); valid: bool (h, w), what was scanned and is not masked.

    Of a picture that shows none (all tissue, or masked) `fallback` is the colour: there, few of the pixels of any brightness
    are smooth; of glass, most are.
    """
    small, there = _thinned(picture, valid)
    brightness = small.astype(np.float32).mean(axis=2).astype(np.uint8)
    smooth = there & (_steps(small) <= SMOOTH_STEP)
    none = Glass(np.array(fallback, np.uint8), False, 0.0)
    if not there.any() or smooth.sum() < max(4, LEAST_GLASS * there.sum()):
        return none
    counts, of_all = (
        np.convolve(np.bincount(brightness[of], minlength=256), np.ones(5), "same") for of in (smooth, there)
    )
    bright = np.arange(256) >= BRIGHT * np.percentile(brightness[there], 99.5)
    enough = bright & (counts >= max(LEAST_GLASS * there.sum(), 0.05 * (counts * bright).max()))
    enough &= counts >= MOSTLY_SMOOTH * of_all
    if not enough.any():
        return none
    top = int(np.flatnonzero(enough)[-1])
    level = top - int(counts[top : max(0, top - 12) : -1].argmax())  # the mode of the brightest group
    of_glass = smooth & (np.abs(brightness.astype(np.int16) - level) <= 6)
    colour = np.clip(np.median(small[of_glass], axis=0).round(), 1, 255).astype(np.uint8)
    spread = np.percentile(_spread(whitened(Image.fromarray(small), colour))[0][of_glass], 95)
    return Glass(colour, True, float(spread))


def stain_of(picture: np.ndarray, glass: Glass, mpp: float) -> tuple[np.ndarray, np.ndarray]:
    """(spread, darkness) of a picture whose glass is made white: uint8 (h, w) each, noise of a pixel averaged out."""
    smooth_px = max(0.7, SMOOTH_UM / mpp)
    spread, largest = _spread(whitened(Image.fromarray(picture), glass.colour).filter(ImageFilter.BoxBlur(smooth_px)))
    return spread, np.maximum(largest, 255 - WHITE) - np.uint8(255 - WHITE)


def tissue_by_stain(spread: np.ndarray, mpp: float, glass: Glass, valid: np.ndarray) -> tuple[np.ndarray, float]:
    """Where there is tissue, bool (h, w), and the threshold of the spread (of `stain_of`), in grey levels."""
    counts = np.bincount(spread[valid], minlength=256)
    above = np.cumsum(np.where(np.arange(256) > glass.spread, counts, 0))
    contrast = float(np.searchsorted(above, 0.9 * above[-1])) if above[-1] else 0.0
    if contrast < glass.spread + LEAST_CONTRAST:
        return np.zeros(spread.shape, bool), contrast
    threshold = glass.spread + max(2.0, PART_OF_CONTRAST * (contrast - glass.spread))
    mask = closed((spread > threshold) & valid, GAP_UM / mpp) & valid
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    seeds = parts[spread > glass.spread + SEED * (threshold - glass.spread)]
    kept = np.bincount(parts.ravel(), minlength=count + 1) >= max(1.0, np.pi * (RADIUS_UM / mpp) ** 2)
    kept &= np.bincount(seeds, minlength=count + 1) > 0
    kept[0] = False
    mask = kept[parts]
    holes, count = ndimage.label(~mask)
    small = np.bincount(holes.ravel(), minlength=count + 1) < np.pi * (HOLE_UM / mpp) ** 2
    small[0] = False
    return (mask | small[holes]) & valid, threshold


def grown(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Everything within a square of that half side (at most 7 at once) of the mask. bool (h, w)"""
    radius = min(7, round(radius_px))
    if radius < 1 or not mask.any():
        return mask
    blurred = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(radius))
    return np.asarray(blurred) > 0


def closed(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Gaps of up to twice the radius filled. bool (h, w)"""
    return mask | ~grown(~grown(mask, radius_px), radius_px)


def _thinned(picture: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture averaged to about 500 px along its longer side, and where all of that is valid."""
    step = max(1, max(picture.shape[:2]) // 500)
    if step == 1:
        return picture, valid
    small = np.asarray(Image.fromarray(picture).reduce(step))
    share = np.asarray(Image.fromarray(valid.astype(np.uint8) * 255).reduce(step))
    return small, share == 255


def _steps(picture: np.ndarray) -> np.ndarray:
    """The largest step to the four neighbours, of the mean over 3 x 3 pixels and the channels. float32 (h, w)"""
    grey = ndimage.uniform_filter(picture.astype(np.float32).mean(axis=2), 3, mode="nearest")
    out = np.zeros_like(grey)
    for axis in (0, 1):
        step = np.abs(np.diff(grey, axis=axis))
        first, last = [slice(None)] * 2, [slice(None)] * 2
        first[axis], last[axis] = slice(1, None), slice(None, -1)
        out[tuple(first)] = np.maximum(out[tuple(first)], step)
        out[tuple(last)] = np.maximum(out[tuple(last)], step)
    return out


def whitened(picture: Image.Image, colour: np.ndarray) -> Image.Image:
    """The picture with this colour made WHITE."""
    tables = [np.clip(np.arange(256) * (WHITE / float(c)) + 0.5, 0, 255).astype(np.uint8) for c in colour]
    return picture.point(np.concatenate(tables).tolist())


def _spread(white: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Largest minus smallest channel, and 255 minus the largest: uint8 (h, w) each."""
    red, green, blue = white.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    smallest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return np.asarray(ImageChops.subtract(largest, smallest)), np.asarray(ImageChops.invert(largest))
