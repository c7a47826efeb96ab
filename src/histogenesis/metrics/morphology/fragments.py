"""The pieces of tissue on a slide, from its mask: how many, how large, how compact."""

from __future__ import annotations

import numpy as np
from skimage.measure import label, regionprops_table

from histogenesis.core.geometry import mm2_of

LEAST_MM2 = 0.01


def fragments(mask: np.ndarray, mpp: float, least_mm2: float = LEAST_MM2) -> dict[str, np.ndarray]:
    """Of a mask (h, w) bool at `mpp`: `area` (mm2) and `solidity` (share of its convex hull) of each piece of at least
    `least_mm2`."""
    found = regionprops_table(label(mask, connectivity=2), properties=("area", "solidity"))
    area = mm2_of(found["area"], mpp)
    keep = area >= least_mm2
    return {"area": area[keep], "solidity": found["solidity"][keep]}
