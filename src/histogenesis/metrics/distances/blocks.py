"""Spatial blocks: parts of one slide that are left out together, so large that neighbours do not resemble each other.

Patches of one slide are no independent samples of its tissue. A slide is cut into blocks of as many patches each (medians along
the longer side, again and again); as many blocks as leave neighbouring ones unlike (Moran's I of the blocks' mean features).
Where even few blocks resemble their neighbours, the slide's structure is as large as the slide, and no interval can be given.
"""

from __future__ import annotations

import numpy as np

from histogenesis.metrics.distances.intervals import Units

BLOCKS = (20, 16, 12, 10)
ALIKE = 0.08  # Moran's I above this: neighbours resemble each other
KIND = "spatial block"


def spatial_blocks(xy, features) -> Units:
    """xy (n, 2): where on the slide each patch lies; features (n, d). `refused` says why where no blocks do."""
    xy, features = np.asarray(xy, np.float64), np.asarray(features, np.float64)
    if len(xy) < 2 * BLOCKS[-1]:
        return Units(np.zeros(len(xy), int), KIND, f"{len(xy)} patches of one slide")
    for many in BLOCKS:
        if len(xy) >= 2 * many:
            label = median_blocks(xy, many)
            if neighbour_likeness(xy, features, label) < ALIKE:
                return Units(label, KIND)
    why = f"1 slide, whose structure is too large to make {BLOCKS[-1]} independent blocks of it"
    return Units(np.zeros(len(xy), int), KIND, why)


def median_blocks(xy: np.ndarray, many: int) -> np.ndarray:
    """The block of each patch, (n,): the largest block is halved along its longer side until there are `many`."""
    parts = [np.arange(len(xy))]
    while len(parts) < many:
        part = parts.pop(int(np.argmax([len(p) for p in parts])))
        axis = int(np.argmax(np.ptp(xy[part], axis=0)))
        part = part[np.argsort(xy[part, axis], kind="stable")]
        parts += [part[: len(part) // 2], part[len(part) // 2 :]]
    label = np.empty(len(xy), np.int64)
    for i, part in enumerate(parts):
        label[part] = i
    return label


def neighbour_likeness(xy: np.ndarray, features: np.ndarray, label: np.ndarray) -> float:
    """Moran's I of the blocks' mean features (principal axes weigh by their variance), less what chance gives."""
    many = label.max() + 1
    means = np.array([features[label == i].mean(axis=0) for i in range(many)])
    centres = np.array([xy[label == i].mean(axis=0) for i in range(many)])
    means -= means.mean(axis=0)
    side = np.sqrt(np.prod(np.ptp(xy, axis=0) * (1 + 1 / np.sqrt(len(xy)))) / many)
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    near = (apart < 1.25 * side) & (apart > 0)
    spread = (means**2).sum() / many
    if not near.any() or spread == 0:
        return 0.0
    return float((means @ means.T)[near].mean() / spread + 1 / (many - 1))
