"""Whether patches look like haematoxylin and eosin, for models that learnt nothing else.

In H&E green is absorbed most: on six real slides of two archives at most 0.9 % of stained pixels absorb more blue than green,
and the median one absorbs 0.47 to 0.73 as much red as green. Diaminobenzidine (brown) absorbs blue most; haematoxylin without
eosin, red nearly as much as green (Ruifrok and Johnston 2001).
"""

from __future__ import annotations

import numpy as np

STAINED = 0.45  # optical density, of the three channels together, from which a pixel counts
BROWN = 0.05  # share of stained pixels that absorb more blue than green
NO_EOSIN = 0.85  # red absorbed, of green, in the median of stained pixels
HE_ALONE = "a model that this recipe brings has seen haematoxylin and eosin alone: look at what it draws, or train from nothing"
DARK = 60  # grey level, in the median of all pixels, below which it was no bright-field light


def unlike_he(images: np.ndarray) -> str | None:
    """What speaks against H&E in patches (n, h, w, 3) uint8, in a few words; None where nothing does, or nothing is stained."""
    pixels = images.reshape(-1, 3).astype(np.float32)
    if np.median(pixels) < DARK:
        return "dark, as fluorescence is"
    density = -np.log((pixels + 1) / 256)
    red, green, blue = density[density.sum(axis=1) > STAINED].T
    if not len(green):
        return None
    brown, bluish = np.mean(blue > green), np.median(red / np.maximum(green, 1e-3))
    if brown > BROWN:
        return f"{brown:.0%} of what is stained is brown or yellow, as in immunohistochemistry"
    if bluish > NO_EOSIN:
        return "blue without pink, as haematoxylin alone is"
    return None
