"""Nuclei by classical means: colour deconvolution, a Laplacian of Gaussian that marks their middles, and a watershed between
them.

No network and no training: a nucleus is a round, haematoxylin-dark thing of the right size, which is what a pathologist's eye
misses first in a bad picture. It is the same ruler on both sides; absolute counts are a few tens of per cent off where nuclei
crowd.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, spatial
from skimage.color import rgb2hed
from skimage.feature import peak_local_max
from skimage.filters import threshold_otsu
from skimage.measure import regionprops_table
from skimage.segmentation import watershed

from histogenesis.core.geometry import mm2_of, um2_of

COARSEST_MPP = 1.0  # beyond it, a nucleus is too few pixels to be measured
RADIUS_UM = 3.0  # of a typical nucleus: the size that the Laplacian looks for
SMOOTH_UM = 0.5
LEAST_UM2, MOST_UM2 = 10.0, 200.0
LEAST_APART_UM = 4.0
SOLID = 0.85  # share of a nucleus's convex hull that it fills: blobs of noise are ragged
CONTRAST = 0.35  # of the threshold: how much darker than its surroundings a middle must be
RIPLEY_UM = 15.0
FEWEST = 5  # nuclei of a patch, below which Ripley's K says nothing of it


@dataclass(frozen=True)
class Nuclei:
    """What was found in n patches of `mm2` mm2 each. Arrays of m nuclei: which patch, middle, area, ...; lengths in um."""

    n: int
    mm2: float
    patch: np.ndarray
    y: np.ndarray
    x: np.ndarray
    area: np.ndarray
    eccentricity: np.ndarray
    haematoxylin: np.ndarray

    @property
    def per_mm2(self) -> np.ndarray:
        """Of each patch, (n,)."""
        return np.bincount(self.patch, minlength=self.n) / self.mm2


def haematoxylin(image: np.ndarray, mpp: float) -> np.ndarray:
    """The amount of haematoxylin (Ruifrok and Johnston 2001; skimage's unit), smoothed over half a micrometre. (h, w)"""
    return ndimage.gaussian_filter(rgb2hed(image)[..., 0], SMOOTH_UM / mpp, mode="reflect")


def nuclear_threshold(images: np.ndarray, mpp: float) -> float:
    """What is dark enough for a nucleus: Otsu's threshold over all pixels of real patches (n, h, w, 3). It is the same for
    all that is compared with them, since one found in each patch would find nuclei in a patch that has none."""
    return float(threshold_otsu(np.stack([haematoxylin(image, mpp) for image in images])))


def label_nuclei(image: np.ndarray, mpp: float, threshold: float) -> np.ndarray:
    """Nuclei of one patch uint8 (h, w, 3), numbered from 1, 0 elsewhere: (h, w) int."""
    dark = haematoxylin(image, mpp)
    sigma = RADIUS_UM / np.sqrt(2) / mpp
    middles = -(sigma**2) * ndimage.gaussian_laplace(dark, sigma, mode="reflect")
    mask = ndimage.binary_opening(dark > threshold, iterations=1) if mpp <= 0.5 else dark > threshold
    places = peak_local_max(
        middles,
        min_distance=max(1, round(LEAST_APART_UM / 2 / mpp)),
        threshold_abs=CONTRAST * threshold,
        labels=mask.astype(int),
        exclude_border=False,
    )
    markers = np.zeros(dark.shape, np.int32)
    markers[tuple(places.T)] = np.arange(1, len(places) + 1)
    labels = watershed(-middles, markers, mask=mask)
    found = regionprops_table(labels, properties=("label", "area", "solidity"))
    areas = um2_of(found["area"], mpp)
    good = (areas >= LEAST_UM2) & (areas <= MOST_UM2) & (found["solidity"] >= SOLID)
    return np.where(np.isin(labels, found["label"][good]), labels, 0)


def find_nuclei(images: np.ndarray, mpp: float, threshold: float) -> Nuclei:
    """The nuclei of patches uint8 (n, h, w, 3). A nucleus cut by a border counts in the patch that holds its piece's middle."""
    columns = ("centroid", "area", "eccentricity", "intensity_mean")
    parts = []
    for k, image in enumerate(images):
        labels = label_nuclei(image, mpp, threshold)
        found = regionprops_table(labels, rgb2hed(image)[..., 0], properties=columns)
        parts.append(np.column_stack([np.full(len(found["area"]), k), *found.values()]))
    table = np.concatenate(parts) if parts else np.zeros((0, 6))
    patch, y, x, area, eccentricity, stain = table.T
    mm2 = mm2_of(images.shape[1] * images.shape[2], mpp)
    return Nuclei(len(images), mm2, patch.astype(int), y * mpp, x * mpp, um2_of(area, mpp), eccentricity, stain)


def nearest_distances(nuclei: Nuclei) -> np.ndarray:
    """um from each nucleus to the nearest other of its patch, (m,); NaN for one that is alone there."""
    found = np.full(len(nuclei.patch), np.nan)
    for k, points in _patches(nuclei):
        if len(points) > 1:
            found[nuclei.patch == k] = spatial.cKDTree(points).query(points, k=2)[0][:, 1]
    return found


def ripley(nuclei: Nuclei, side_um: tuple[float, float], radius_um: float = RIPLEY_UM) -> np.ndarray:
    """Ripley's K at a radius, divided by pi r^2, of each patch with at least five nuclei (others: NaN), (n,).

    1: nuclei lie anywhere; more: in clusters; less: apart. Translation-corrected for the borders (Ohser 1983): a pair (dy, dx)
    weighs 1 over the share of the patch that it could lie in.
    """
    height, width = side_um
    found = np.full(nuclei.n, np.nan)
    for k, points in _patches(nuclei):
        if len(points) < FEWEST:
            continue
        i, j = spatial.cKDTree(points).query_pairs(radius_um, output_type="ndarray").T
        apart = np.abs(points[i] - points[j])
        weight = 2 / ((height - apart[:, 0]) * (width - apart[:, 1]))
        found[k] = weight.sum() * (height * width) ** 2 / (len(points) * (len(points) - 1)) / (np.pi * radius_um**2)
    return found


def _patches(nuclei: Nuclei):
    points = np.column_stack([nuclei.y, nuclei.x])
    for k in np.unique(nuclei.patch):
        yield k, points[nuclei.patch == k]
