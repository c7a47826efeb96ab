"""What a patch is seen with: the wider view about its centre; and how much of a picture is white."""

from __future__ import annotations

import numpy as np

from histogenesis.core.geometry import served_mpp
from histogenesis.slides.read import Slide


def white_share(picture_hwc: np.ndarray, above: int) -> float:
    """Share (0 to 1) of a picture's pixels whose three colours are all brighter than `above`; uint8."""
    return float((picture_hwc.min(axis=-1) > above).mean())


def read_padded(
    slide: Slide, x_px: float, y_px: float, size_px: int, mpp: float, background: np.ndarray, fill: bool = False
) -> np.ndarray:
    """A square region that may leave the slide: there it has the background's colour. uint8 (p, p, 3).

    (x_px, y_px) is its top left corner in the slide's own pixels; a pixel counts as outside if its centre lies there.
    """
    picture, mpp = slide.read(x_px, y_px, size_px, mpp, fill), served_mpp(mpp, slide.mpp)
    side = size_px * mpp / slide.mpp
    if x_px >= 0 and y_px >= 0 and x_px + side <= slide.width_px and y_px + side <= slide.height_px:
        return picture
    picture = np.array(picture)
    centre = (np.arange(size_px) + 0.5) * mpp / slide.mpp
    outside_y = (y_px + centre < 0) | (y_px + centre > slide.height_px)
    outside_x = (x_px + centre < 0) | (x_px + centre > slide.width_px)
    picture[outside_y] = background
    picture[:, outside_x] = background
    return picture


def read_context(
    slide: Slide, x_px: float, y_px: float, size_px: int, mpp: float, ratio: float, background: np.ndarray
) -> np.ndarray:
    """The view about a patch's centre that is `ratio` times as wide, in as many pixels. uint8 (p, p, 3).

    (x_px, y_px) is the patch's own top left corner.
    """
    mpp = served_mpp(mpp, slide.mpp)
    further = (ratio - 1) / 2 * size_px * mpp / slide.mpp
    return read_padded(slide, x_px - further, y_px - further, size_px, mpp * ratio, background, fill=True)
