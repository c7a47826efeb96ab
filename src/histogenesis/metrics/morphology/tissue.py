"""Shares of epithelium, stroma and lumen, and the sizes of glands and lumina, by the H&E network at 1 mpp.

The network learnt from pictures whose stains were found and stretched slide by slide, so that is done here too, on both sides:
what differs in stain is told by stains.py. It knows glands; squamous epithelium it takes for stroma.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from histogenesis.core.geometry import um2_of
from histogenesis.metrics.encoders.he_network import CLASSES, LEAST_PX, MPP, MULTIPLE, HeNetwork, stain_pictures
from histogenesis.metrics.encoders.resize import pil_uint8
from histogenesis.metrics.morphology.stains import amounts, stain_vectors

COARSEST_MPP = 2.0
BATCH = 32
LEAST_UM2 = 50.0  # of a gland or lumen: smaller parts are the network's doubts


@dataclass(frozen=True)
class Tissue:
    """Of n patches: shares (n, 3) in the order of CLASSES; gland_area, lumen_area: um2 of each, a list of n arrays."""

    shares: np.ndarray
    gland_area: list[np.ndarray]
    lumen_area: list[np.ndarray]


def measure_tissue(network: HeNetwork, images: np.ndarray, mpp: float, slide: np.ndarray) -> Tissue:
    """Of patches uint8 (n, h, w, 3) at `mpp` and the slide of each (n,): patches of one slide share their stains' stretch.

    A gland is a connected part of epithelium and the lumen in it; one that a border cuts counts with the part that is there.
    """
    sides = [max(LEAST_PX, MULTIPLE * max(1, round(side * mpp / MPP / MULTIPLE))) for side in images.shape[1:3]]
    um2 = um2_of(images.shape[1] * images.shape[2], mpp) / (sides[0] * sides[1])
    shares = np.zeros((len(images), len(CLASSES)))
    glands, lumina = ([np.zeros(0)] * len(images) for _ in range(2))
    for name in np.unique(slide):
        rows = np.flatnonzero(slide == name)
        stains = stain_vectors(images[rows])
        strongest = _strongest(images[rows], stains)
        for start in range(0, len(rows), BATCH):
            at = rows[start : start + BATCH]
            pictures = stain_pictures(pil_uint8(images[at], *sides), stains, strongest)
            for row, kinds in zip(at, network.run(pictures)[0].argmax(axis=1)):
                shares[row] = [(kinds == k).mean() for k in range(len(CLASSES))]
                glands[row] = _areas(kinds != CLASSES.index("stroma"), um2, kinds == CLASSES.index("epithelium"))
                lumina[row] = _areas(kinds == CLASSES.index("lumen"), um2)
    return Tissue(shares, glands, lumina)


def _strongest(images, stains) -> tuple[float, float, float]:
    """99th percentiles of eosin, haematoxylin and density: what the network's picture shows as 1."""
    found, density = amounts(images, stains)
    values = found[..., 1], found[..., 0], density
    eosin, haematoxylin, dense = (max(float(np.percentile(v, 99)), 1e-3) for v in values)
    return eosin, haematoxylin, dense


def _areas(mask, um2, must_hold=None) -> np.ndarray:
    """um2 of the connected parts of a mask; of those alone that hold a pixel of `must_hold`."""
    parts, count = ndimage.label(mask)
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:] * um2
    if must_hold is not None and count:
        areas = areas[np.bincount(parts[must_hold], minlength=count + 1)[1:] > 0]
    return areas[areas >= LEAST_UM2]
