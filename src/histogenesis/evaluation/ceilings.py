"""What is made of training patches for scale: sets with a known fault, whose features are extracted like all others'.

`phase` has their colours and spectra and no structure, `bicubic` is right on the large scale and empty on the small.
`compression` is the training patches through the codec of the slides: what it alone would do, were the two sides not treated
alike.
"""

from __future__ import annotations

import numpy as np

from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.sensitivity import distorted, jpeg

CEILINGS = ("phase", "bicubic")
COMPRESSION = "compression"
USUAL_JPEG = {"quality": 30, "subsampling": 2}  # what `compression` is where no codec of the slides is known


def reference_sets(sets: Sets, rows: dict[float, list[np.ndarray]], seed: int = 1) -> dict[str, ImageSet]:
    """name -> the matched training patches (those of each mpp of `rows`, one after the other) made so."""
    if not rows:
        return {}
    train = sets.train.take(np.concatenate([parts[0] for parts in rows.values()]))
    if not len(train):
        return {}
    how = sets.codec.as_dict() if sets.codec else USUAL_JPEG
    distorted_sets = {name: distorted(name, train.images, seed) for name in CEILINGS}
    distorted_sets[COMPRESSION] = jpeg(train.images, **how)
    return {
        name: ImageSet(name, images, train.mpp, train.slide, train.patient) for name, images in distorted_sets.items()
    }
