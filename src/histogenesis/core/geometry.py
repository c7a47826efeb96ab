"""Micrometres per pixel: when two are the same, at which one a slide serves what is asked of it, and lengths and areas by it.

Scanners that are sold as "20x" state 0.499 to 0.504 mpp, "40x" 0.2325 to 0.263. A recipe asks for 0.5; what lies within the
tolerance of that is the slide's own pixels, as they are, and the mpp that they truly have is recorded beside them.
"""

from __future__ import annotations

import numpy as np

MPP_TOLERANCE = 0.03  # relative; the one tolerance of mpp in the project


def same_mpp(mpp, other):
    """Whether two mpps are the same within the tolerance. Numbers or arrays; never true of NaN (an mpp that is not known)."""
    return np.abs(np.asarray(mpp) - other) <= MPP_TOLERANCE * np.asarray(other) * (1 + 1e-9)


def is_finer(mpp, slide_mpp):
    """Whether an mpp is finer than a slide's own by more than the tolerance: such pixels could only be invented."""
    return (np.asarray(mpp) < slide_mpp) & ~same_mpp(mpp, slide_mpp)


def served_mpp(mpp, slide_mpp):
    """The mpp that a slide of `slide_mpp` gives where `mpp` is asked for: its own within the tolerance, else `mpp` exactly.

    Numbers or arrays. What `is_finer` is not for a slide to serve: ask that first.
    """
    found = np.where(same_mpp(mpp, slide_mpp), slide_mpp, mpp)
    return found if found.ndim else float(found)


def by_mpp(mpp: np.ndarray) -> list[np.ndarray]:
    """The rows of each mpp, rising; of patches whose mpp is not known (NaN), all together."""
    values, which = np.unique(mpp, return_inverse=True)
    return [np.flatnonzero(which == k) for k in range(len(values))]


# ------------------------------------------------------------------------------------------------ lengths and areas


def mm_of(px, mpp):
    """So many pixels in a row, in mm."""
    return px * mpp / 1000


def px_of_mm(mm, mpp):
    """A length in pixels, not rounded."""
    return mm * 1000 / mpp


def um2_of(px, mpp):
    """An area of so many pixels, in um2."""
    return px * mpp**2


def mm2_of(px, mpp):
    """An area of so many pixels, in mm2."""
    return px * mpp**2 / 1e6


def px_of_mm2(mm2, mpp):
    """An area in pixels, not rounded."""
    return mm2 * 1e6 / mpp**2


def per_cm(mpp):
    """Pixels per centimetre, as TIFF tags say resolution."""
    return 10_000 / mpp


def magnification(mpp):
    """Of the objective that such pixels are usually scanned with: 10 at 1 um, 40 at 0.25."""
    return 10 / mpp
