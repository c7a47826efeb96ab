"""Keeping estimates of the clean image within what a picture can be."""

from __future__ import annotations

import math

from torch import Tensor

from histogenesis.models.normalisation import Normalisation
from histogenesis.models.options import Options


def apply_threshold(denoised_bchw: Tensor, section: Options | None, normalisation: Normalisation) -> Tensor:
    """Estimates in model units, kept within what uint8 pictures are, as the recipe's sampler says; None: as they are."""
    if section is None:
        return denoised_bchw
    unit = normalisation.decode(denoised_bchw) / 127.5 - 1
    unit = unit.clamp(-1, 1) if section.kind == "static" else dynamic(unit, section.percentile)
    return normalisation.encode((unit + 1) * 127.5)


def dynamic(unit_bchw: Tensor, percentile: float) -> Tensor:
    """Dynamic thresholding (Saharia et al. 2022, section 2.3): [-s, s] becomes [-1, 1].

    s is the percentile (0 to 1) of each image's absolute values, but at least 1.
    """
    absolute = unit_bchw.abs().flatten(1)
    rank = max(1, math.ceil(percentile * absolute.shape[1]))
    s = absolute.kthvalue(rank, dim=1).values.clamp(min=1)[:, None, None, None]
    return unit_bchw.clamp(-s, s) / s
