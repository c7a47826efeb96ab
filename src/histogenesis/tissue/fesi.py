"""FESI: foreground extraction from structure information (Bug, Feuerhake, Merhof 2015), at a fixed physical scale.

The kernels are stated in micrometres, so that a picture at 4 um per pixel and the same slide at 12 give the same tissue. In
pixels they are those of the published form (Gaussian sigma 4, median 45, five openings with a 7 x 7 ellipse, inscribed radius
over 10 and within 3 radii of a seed) at `PUBLISHED_MPP`, where they were found to work best.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.color import lab2rgb, rgb2gray, rgb2lab

PUBLISHED_MPP = 4.0
SIGMA_UM = 4 * PUBLISHED_MPP
MEDIAN_UM = 45 * PUBLISHED_MPP
OPENING_UM = 5 * 3 * PUBLISHED_MPP  # five openings with an ellipse of radius 3
RADIUS_UM = 10 * PUBLISHED_MPP
NEAR_RADII = 3


def fesi(picture: np.ndarray, mpp: float, improved: bool = False, border_background: bool = True) -> np.ndarray:
    """Tissue of a picture, by structure.

    picture: uint8 (h, w, 3); mpp: its micrometres per pixel. improved: colour in Lab in place of |Laplacian|.
    border_background: the background is every part without structure that touches the picture's border, and not only the
    one with the deepest point (which is the published form). Returns bool (h, w). A mean threshold always splits something:
    the guard against pictures that are all background or all tissue is in `segment`.
    """
    structure = blueness(picture) if improved else laplacian(picture)
    structure = ndimage.gaussian_filter(structure, SIGMA_UM / mpp, mode="nearest", truncate=1.75)  # 15 px at sigma 4
    if not structure.std() > 1e-9:
        return np.zeros(picture.shape[:2], bool)
    dense = structure > structure.mean()
    dense = (
        ndimage.uniform_filter(dense.astype(np.float32), odd(MEDIAN_UM / mpp), mode="nearest") > 0.5
    )  # median of a mask
    dense = opened(dense, OPENING_UM / mpp)
    return near_seeds(~background_of(~dense, border_background), RADIUS_UM / mpp)


def laplacian(picture: np.ndarray) -> np.ndarray:
    """|Laplacian| of the grey picture: where there is structure. float32 (h, w)"""
    return np.abs(ndimage.laplace(rgb2gray(picture).astype(np.float32), mode="nearest"))


def blueness(picture: np.ndarray) -> np.ndarray:
    """The improved form: grey of the picture with L and a of Lab at their maxima. float32 (h, w), higher where bluer.

    What is left is b of Lab, in which both haematoxylin and eosin are bluer than glass. Kept in floating point: in eight bits
    the whole range is a few grey values.
    """
    lab = rgb2lab(picture).astype(np.float32)
    lab[..., 0], lab[..., 1] = 100, 127
    return rgb2gray(lab2rgb(lab)).astype(np.float32)


def background_of(low: np.ndarray, border_background: bool) -> np.ndarray:
    """The background: with `border_background` the parts of `low` that touch the border, else, or if none does, the part
    with the deepest point (chessboard distance), which is the published form.

    low: bool (h, w), where structure is under its mean. Its other parts are holes of the tissue.
    """
    if not low.any():
        return low
    parts, _ = ndimage.label(low, structure=np.ones((3, 3)))
    border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    if border_background and border.any():
        return np.isin(parts, border[border > 0])
    depth = ndimage.distance_transform_cdt(np.pad(low, 1, mode="edge"), metric="chessboard")[1:-1, 1:-1]
    return parts == parts.flat[int(depth.argmax())]


def near_seeds(tissue: np.ndarray, radius_px: float) -> np.ndarray:
    """Regions of an inscribed radius over `radius_px`, and smaller ones within 3 radii of a kept one. bool (h, w)

    The reach of a kept region is three times its own inscribed radius, from its deepest point (largest first).
    """
    parts, count = ndimage.label(tissue, structure=np.ones((3, 3)))
    if not count:
        return tissue
    depth = ndimage.distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1]
    numbers = np.arange(1, count + 1)
    radii = np.asarray(ndimage.maximum(depth, parts, numbers))
    centres = np.asarray(ndimage.maximum_position(depth, parts, numbers), float)
    kept: list[int] = []
    for part in np.argsort(-radii, kind="stable"):
        reach = NEAR_RADII * radii[kept]
        if radii[part] > radius_px or (np.hypot(*(centres[kept] - centres[part]).T) <= reach).any():
            kept.append(int(part))
    return np.isin(parts, numbers[kept])


def opened(mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Opening with a disk, by distance: exact for any radius, and as fast for a large one. bool (h, w)

    The picture's border does not erode: outside is taken to be like the edge.
    """
    if radius_px < 1 or not mask.any():
        return mask
    pad = int(np.ceil(radius_px)) + 1
    wide = np.pad(mask, pad, mode="edge")
    if wide.all():
        return mask
    core = ndimage.distance_transform_edt(wide) > radius_px
    if not core.any():
        return np.zeros_like(mask)
    return (ndimage.distance_transform_edt(~core) <= radius_px)[pad:-pad, pad:-pad]


def odd(size: float) -> int:
    """The nearest odd whole number, at least 1."""
    return 2 * int(size / 2) + 1
