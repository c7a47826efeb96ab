"""What an interval leaves out together: patients, where a set has several; else slides; else parts of its one slide."""

from __future__ import annotations

import numpy as np

from histogenesis.metrics.distances.blocks import spatial_blocks
from histogenesis.metrics.distances.intervals import Units, by_image, by_name
from histogenesis.metrics.encoders.features import ImageSet, image_digests


def units(images: ImageSet, rows, features=None) -> Units:
    """The units of these rows. features (of the same rows): what blocks of a single slide are judged alike by.

    Generated slides are units as patients are: each is one sample of what the model draws. Where a set holds a few patients no
    smaller unit is taken: an interval of their slides or blocks would not speak of patients, and the text would be untrue.
    """
    patient, slide = images.patient[rows], images.slide[rows]
    if len(set(patient.tolist())) > 1:
        return by_name(patient, "synthetic slide" if images.name == "generated" else "patient")
    if len(set(slide.tolist())) > 1:
        return by_name(slide, "slide")
    if images.xy is None or features is None:
        return Units(np.zeros(len(patient), int), "slide")
    return spatial_blocks(images.xy[rows], features)


def independent(images: ImageSet, rows) -> Units:
    """Each patch is a unit: samples of a model, each of its own noise."""
    return by_image(len(images.patient[rows]))


def origins(images: ImageSet) -> np.ndarray:
    """(n,): which images are repeats of one another: of one group, where patches have classes and groups (copies of a tile are
    kept together by their group), otherwise those that are equal but for turning and mirroring. What a model repeats is
    not forgiven: each generated image is its own."""
    if images.name == "generated" or not len(images):
        return np.arange(len(images))
    if images.label is not None:
        return np.unique(images.patient, return_inverse=True)[1]
    views = [
        view for turn in range(4) for t in [np.rot90(images.images, turn, axes=(1, 2))] for view in (t, t[:, :, ::-1])
    ]
    digests = np.sort(np.stack([image_digests(np.ascontiguousarray(view)) for view in views]), axis=0)
    return np.unique(digests[0], return_inverse=True)[1]
