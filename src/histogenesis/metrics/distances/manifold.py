"""How much of the generated images lies among the real ones, and the reverse: precision, recall, density, coverage."""

from __future__ import annotations

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import check_pair
from histogenesis.metrics.distances.neighbours import BLOCK, squared_distances, squared_radii

NAMES = ("precision", "recall", "density", "coverage")


SAME = 1e-12  # of the largest squared distance: less is rounding, and the two are one image
ROUNDING = 1e-30  # of the largest feature's square, in each dimension


def manifold(
    real, generated, k: int = 5, block: int = BLOCK, real_origin=None, generated_origin=None
) -> dict[str, float]:
    """Improved precision and recall (Kynkaanniemi et al. 2019, eq. 1-2), density and coverage (Naeem et al. 2020, eq. 4-5).

    real (n, d), generated (m, d). A ball reaches from an image to its k-th nearest neighbour of its own set, that image
    itself not counted; inside means strictly nearer, as in the authors' package `prdc`. Memory: block x max(n, m) float64.
    An image that equals the ball's own image is inside, however small the ball. real_origin (n,), generated_origin (m,):
    images of one origin (a patch and its turned copies) are no neighbours of each other, so that a set that holds each
    picture eight times has the balls of its pictures and not of their copies. Density may exceed 1. Two sets of one
    distribution do not give 1: compare with the floor. Raises BadInput where k neighbours do not exist.
    """
    real, generated = check_pair(real, generated)
    origins = [
        np.arange(len(f)) if o is None else np.asarray(o)
        for f, o in ((real, real_origin), (generated, generated_origin))
    ]
    for origin in origins:
        others = len(origin) - np.unique(origin, return_counts=True)[1].max()
        if others < k:
            what = (
                "images" if len(set(origin.tolist())) == len(origin) else "images, many of them repeats of one another,"
            )
            raise BadInput(f"{len(origin)} {what} have no {k} neighbours each: give more images, or a smaller k")
    real_radii, generated_radii = (squared_radii(f, k, block, o) for f, o in zip((real, generated), origins))
    rounding = ROUNDING * real.shape[1] * float(np.abs(real).max()) ** 2
    balls = np.zeros(len(generated), dtype=np.int64)  # real balls that hold each generated image
    recalled, covered = 0, 0
    for rows, distances in squared_distances(real, generated, block):
        same = distances <= max(rounding, SAME * float(distances.max()))
        inside = (distances < real_radii[rows, None]) | same
        balls += inside.sum(axis=0)
        covered += int(inside.any(axis=1).sum())
        recalled += int(((distances < generated_radii) | same).any(axis=1).sum())
    return {
        "precision": float((balls > 0).mean()),
        "recall": recalled / len(real),
        "density": float(balls.mean() / k),
        "coverage": covered / len(real),
    }
