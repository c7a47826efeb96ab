"""Tissue and background of a picture: one function for every method, with guards, and what was odd in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2hsv, rgb2lab
from skimage.filters import threshold_otsu

from histogenesis.core.geometry import mm2_of
from histogenesis.tissue.artefacts import find_artefacts
from histogenesis.tissue.fesi import MEDIAN_UM, OPENING_UM, RADIUS_UM, fesi, odd, opened
from histogenesis.tissue.glass import find_glass, stain_of, tissue_by_stain
from histogenesis.tissue.stain import GLASS, large_parts, pen_marks, smooth_lab, stained

FINEST_MPP = 4.0  # finer pictures are averaged to this first: kernels stay small, and the answer is the same
SMALLEST_PX = 16  # and are not made smaller than this
STAINED_SHARE = 0.1  # of a part's pixels: less is dust, a hair, the edge of a coverslip
PALE_SHARE = 0.3  # more than this in a part without much structure is tissue all the same (fat, mucus)
REACH_UM = 50.0  # tissue has stain within this
PALE_CHROMA = 4.0  # of coarse pixels, which hold both tissue and glass
SMEAR_UM = 200.0  # what lies mostly within this of a pen mark is the mark's own smear


@dataclass(frozen=True)
class Segmentation:
    """Tissue of a picture. mask: bool (h, w); background: uint8 (3,), the glass's colour; warnings: lines for a
    person; artefacts: what of the picture is none (`artefacts.KINDS`), bool (h, w) each, and not in the mask."""

    mask: np.ndarray
    background: np.ndarray
    warnings: list[str] = field(default_factory=list)
    artefacts: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Share of the picture that is tissue."""
        return float(self.mask.mean())


def segment(
    picture: np.ndarray, mpp: float, method: str = "fesi", border_background: bool = True, guard: bool = True
) -> Segmentation:
    """Tell tissue from background.

    picture: uint8 (h, w, 3); mpp: its micrometres per pixel, by which kernels are scaled. method: `fesi` and `fesi-improved`
    (see `fesi`), `otsu` (saturation, median), `histolab` (its TissueMask: all tissue, not the biggest box), `all`. guard: parts
    without stain are not tissue, stained parts are, pen marks are cut out; so a picture that is all background comes out
    empty, and one that is all tissue full, each with a warning. Raises ValueError for an unknown method.
    """
    height, width = picture.shape[:2]
    small = picture
    if mpp < FINEST_MPP and min(height, width) > SMALLEST_PX:
        shrink = min(FINEST_MPP / mpp, min(height, width) / SMALLEST_PX)
        small = resized(picture, (round(height / shrink), round(width / shrink)), Image.Resampling.BOX)
        mpp *= shrink
    lab = smooth_lab(small, mpp)
    mask = find_tissue(small, mpp, method, border_background)
    mask, warnings = guarded(lab, mpp, mask) if guard and method != "all" else (mask, [])
    background, more = background_colour(small, lab, mask)
    return Segmentation(resized(mask, (height, width), Image.Resampling.BILINEAR), background, warnings + more)


def segment_stain(picture: np.ndarray, mpp: float, valid: np.ndarray, guard: bool = True) -> Segmentation:
    """Tissue by its difference from the slide's own glass, with what is on the slide and no tissue. valid: bool (h, w), what
    may be judged: scanned, not black, not damaged."""
    glass = find_glass(picture, valid, GLASS)
    picture = np.where(valid[..., None], picture, glass.colour)  # so that black does not bleed into what is judged
    mask, _ = tissue_by_stain(stain_of(picture, glass, mpp)[0], mpp, glass, valid)
    warnings = [] if glass.found else [f"no background was found; the colour {GLASS} stands for glass"]
    artefacts = find_artefacts(picture, mpp, glass, mask, valid) if guard else {}
    for kind in artefacts:
        mask = mask & ~artefacts[kind]
    warnings += [] if mask.any() else ["no tissue was found"]
    return Segmentation(mask, glass.colour, warnings, artefacts)


def histolab_own(picture: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """histolab's TissueMask at its own scale, bool on the picture's grid. size_px: the slide's width and height.

    Its scale is 1/32 of the slide, or that of its thumbnail where that is larger.
    """
    sizes = [
        [max(1, n // 32) for n in size_px],
        [int(n / 10 ** (math.ceil(math.log10(n)) - 3)) for n in size_px],
    ]
    size = max(sizes, key=lambda wh: wh[0] * wh[1])
    own = histolab_mask(np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)))
    return np.asarray(Image.fromarray(own).resize(picture.shape[1::-1], Image.Resampling.NEAREST))


def segment_coarse(
    picture: np.ndarray,
    mpp: float,
    work_mpp: float,
    method: str = "fesi",
    border_background: bool = True,
    guard: bool = True,
) -> Segmentation:
    """`segment` for a coarse picture (mpp far over 10): enlarged to `work_mpp`, segmented, and brought back to its own grid.

    A pixel of the result is tissue where at least half of it is. The enlargement is bicubic, so that the Laplacian sees the
    edges of the coarse picture and no steps between its pixels. The Laplacian of an edge is a coarse pixel wide on either
    side: guard also takes off the rim of glass that comes of it.
    """
    factor = max(1.0, mpp / work_mpp)
    height, width = picture.shape[:2]
    large = resized(picture, (round(height * factor), round(width * factor)), Image.Resampling.BICUBIC)
    found = segment(large, mpp * height / large.shape[0], method, border_background, guard)
    mask = resized(found.mask, (height, width), Image.Resampling.BOX)
    if guard and method != "all":
        stain = stained(rgb2lab(picture), PALE_CHROMA)
        mask &= ndimage.binary_fill_holes(mask & stain)
    return Segmentation(mask, found.background, found.warnings)


def find_tissue(picture: np.ndarray, mpp: float, method: str, border_background: bool) -> np.ndarray:
    """The bare method's mask, bool (h, w), at the picture's own resolution."""
    if method in ("fesi", "fesi-improved"):
        return fesi(picture, mpp, method == "fesi-improved", border_background)
    if method == "otsu":
        return otsu(picture, mpp)
    if method == "histolab":
        return histolab_mask(picture)
    if method == "all":
        return np.ones(picture.shape[:2], bool)
    raise ValueError(f"no tissue method {method!r}; there are fesi, fesi-improved, otsu, histolab, all")


def guarded(lab: np.ndarray, mpp: float, mask: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The mask, judged by colour: no stain, no tissue; stained, no background; ink, neither. bool (h, w), and warnings."""
    stain, warnings = stained(lab), []
    mask = keep_parts(mask, stain, STAINED_SHARE) | keep_parts(~mask, stain, PALE_SHARE)
    mask |= opened(stain & ~mask, 2 * OPENING_UM / mpp)
    mask = near(mask, stain, REACH_UM / mpp)
    marks = pen_marks(lab, mask, mpp)
    if (marks & mask).any():
        area = mm2_of((marks & mask).sum(), mpp)
        warnings.append(f"pen mark? {area:.2g} mm2 in the colours of ink are left out of the tissue")
        mask = keep_parts(mask & ~marks, stain & ~marks, STAINED_SHARE)
        smear_px = min(SMEAR_UM / mpp, min(mask.shape) / 8)
        mask = keep_parts(mask, ndimage.distance_transform_edt(~marks) > smear_px, 0.5)
    return large_parts(mask, np.pi * (RADIUS_UM / mpp) ** 2), warnings


def near(mask: np.ndarray, stain: np.ndarray, reach_px: float) -> np.ndarray:
    """The mask without what lies far from any stain (a coverslip's edge, a hair, air), save for its holes. bool (h, w)"""
    stain = stain & mask
    if not stain.any():
        return np.zeros_like(mask)
    close = mask & (ndimage.distance_transform_edt(~stain) <= max(1.0, reach_px))
    return ndimage.binary_fill_holes(close) & mask


def keep_parts(mask: np.ndarray, stain: np.ndarray, share: float) -> np.ndarray:
    """The connected parts of `mask` of which at least `share` is stained. bool (h, w)"""
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if not count:
        return mask
    shares = ndimage.mean(stain, parts, np.arange(1, count + 1))
    return np.concatenate([[False], shares >= share])[parts]


def otsu(picture: np.ndarray, mpp: float) -> np.ndarray:
    """Otsu's threshold on saturation, then a median. bool (h, w)"""
    saturation = rgb2hsv(picture)[..., 1].astype(np.float32)
    if saturation.max() <= saturation.min():
        return np.zeros(picture.shape[:2], bool)
    mask = (saturation > threshold_otsu(saturation)).astype(np.float32)
    return ndimage.uniform_filter(mask, odd(MEDIAN_UM / 4 / mpp), mode="nearest") > 0.5  # the median of a mask


def histolab_mask(picture: np.ndarray) -> np.ndarray:
    """histolab's TissueMask: its default chain (grey, Otsu, dilation, small holes and objects), on this picture. bool (h, w)"""
    from histolab.filters.compositions import FiltersComposition
    from histolab.slide import Slide

    if picture.min() == picture.max():
        return np.zeros(picture.shape[:2], bool)
    return np.asarray(FiltersComposition(Slide).tissue_mask_filters(Image.fromarray(picture)), bool)


def background_colour(picture: np.ndarray, lab: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The colour of glass, uint8 (3,): the median of the pixels outside tissue that have no stain; and warnings.

    Near white, with a warning, where there are none of them (less than a thousandth of the picture).
    """
    warnings = [] if mask.any() else ["no tissue was found"]
    glass = ~mask & ~stained(lab)
    if glass.sum() < max(1, mask.size / 1000):
        return np.array(GLASS, np.uint8), [*warnings, f"no background was found; the colour {GLASS} stands for glass"]
    return np.median(picture[glass], axis=0).round().astype(np.uint8), warnings


def resized(picture: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    """`picture` (uint8 (h, w, 3), or bool (h, w)) at `size` = (h, w); a mask is true where at least half is."""
    if picture.shape[:2] == tuple(size):
        return picture
    if picture.dtype == bool:
        values = Image.fromarray(picture.astype(np.uint8) * 255).resize(size[::-1], how)
        return np.asarray(values) >= 128
    return np.asarray(Image.fromarray(picture).resize(size[::-1], how))
