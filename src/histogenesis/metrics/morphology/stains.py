"""The colours of haematoxylin and eosin in pictures: stain vectors by Macenko et al. 2009, the angle between two pairs of
them."""

from __future__ import annotations

import numpy as np
from skimage.color import rgb_from_hed

WHITE = 240.0
LEAST_DENSITY = 0.15  # of a pixel that says something of the stains
ENDS = (1, 99)  # percentiles of the angle in the plane of stains
FEWEST_PIXELS = 100
USUAL = rgb_from_hed[:2] / np.linalg.norm(rgb_from_hed[:2], axis=1, keepdims=True)  # Ruifrok and Johnston 2001


def optical_density(images: np.ndarray) -> np.ndarray:
    """-log10 of uint8 (..., 3) over white, float32, at least 0."""
    return -np.log10(np.clip(images.astype(np.float32), 1, WHITE) / np.float32(WHITE))


def stain_vectors(images: np.ndarray) -> np.ndarray:
    """Optical densities of haematoxylin and eosin, rows of unit length (2, 3), from uint8 (..., 3).

    The plane of the two main directions of stained pixels, and in it the directions at the 1st and 99th percentile of angle
    (Macenko et al. 2009, section 2.2); haematoxylin is the one that absorbs more red. The usual vectors where fewer than 100
    pixels are stained, or all have one colour.
    """
    density = optical_density(images).reshape(-1, 3).astype(np.float64)
    density = density[(density > LEAST_DENSITY).any(axis=1)]
    if len(density) < FEWEST_PIXELS:
        return USUAL.copy()
    values, vectors = np.linalg.eigh(np.cov(density.T))
    plane = vectors[:, [2, 1]]
    if values[1] < 1e-8:
        return USUAL.copy()
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    at = density @ plane
    angles = np.percentile(np.arctan2(at[:, 1], at[:, 0]), ENDS)
    found = np.stack([plane @ (np.cos(a), np.sin(a)) for a in angles]).clip(0)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found[np.argsort(-found[:, 0])]


def amounts(images: np.ndarray, stains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amounts of haematoxylin and eosin (..., 2), and the mean density of the three channels (...)."""
    density = optical_density(images)
    return density @ np.linalg.pinv(stains).astype(np.float32), density.mean(axis=-1)


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Degrees: the larger of the angle between two haematoxylins and that between two eosins; (2, 3) each."""
    return float(np.degrees(np.arccos(np.clip((first * second).sum(axis=1), -1, 1))).max())
