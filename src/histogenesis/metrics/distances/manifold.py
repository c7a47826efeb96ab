"""How much of the generated images lies among the real ones, and the reverse: precision, recall, density, coverage."""

from __future__ import annotations

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import check_pair
from histogenesis.metrics.distances.neighbours import BLOCK, squared_distances, squared_radii

NAMES = ("precision", "recall", "density", "coverage")


def manifold(real, generated, k: int = 5, block: int = BLOCK) -> dict[str, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, eq. 1-2), density and coverage (Naeem et al. 2020, eq. 4-5).

    real (n, d), generated (m, d). A ball reaches from an image to its k-th nearest neighbour of its own set, that image
    itself not counted; inside means strictly nearer, as in the authors' package `prdc`. Memory: block x max(n, m) float64.
    Density may exceed 1. Two sets of one distribution do not give 1: compare with the floor. Raises BadInput where k
    neighbours do not exist.
    """
    real, generated = check_pair(real, generated)
    if min(len(real), len(generated)) <= k:
        raise BadInput(
            f"{min(len(real), len(generated))} images have no {k} neighbours each: give more images, or a smaller k"
        )
    real_radii, generated_radii = squared_radii(real, k, block), squared_radii(generated, k, block)
    balls = np.zeros(len(generated), dtype=np.int64)  # real balls that hold each generated image
    recalled, covered = 0, 0
    for rows, distances in squared_distances(real, generated, block):
        inside = distances < real_radii[rows, None]
        balls += inside.sum(axis=0)
        covered += int(inside.any(axis=1).sum())
        recalled += int((distances < generated_radii).any(axis=1).sum())
    return {
        "precision": float((balls > 0).mean()),
        "recall": recalled / len(real),
        "density": float(balls.mean() / k),
        "coverage": covered / len(real),
    }
