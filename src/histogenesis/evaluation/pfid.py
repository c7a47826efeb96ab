"""Patch FID of gigapixel slides, in the two definitions that papers use under one name; and crop FID at each mpp.

any-resolution (Chai et al. 2022, "Any-resolution training"): crops of one size in px at a random scale; the real and the
generated crop of a pair lie at the same place and scale.
URCDM (Cechnicka et al. 2023/2024): crops at the fixed magnifications that the cascade was trained at, all resized to
1024 px and pooled.
Their values cannot be compared with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.crops import Place, Source, coarsest_mpp, read_places
from histogenesis.metrics.distances.frechet import fid
from histogenesis.metrics.encoders.features import FeatureSet, encode
from histogenesis.metrics.encoders.registry import Encoder


@dataclass(frozen=True)
class PatchFid:
    """The value, and the features behind it (n, d), with which slide each crop is of."""

    value: float
    real: np.ndarray
    generated: np.ndarray
    real_source: np.ndarray
    generated_source: np.ndarray
    places: list[Place]


def any_resolution_places(n: int, finest_mpp: float, coarsest: float, seed: int = 0) -> list[Place]:
    """n places, scale log-uniform between the two mpps, position uniform."""
    if coarsest < finest_mpp:
        raise BadInput(
            f"no scale fits: crops would have to be finer than {coarsest:g} mpp, and the slides have {finest_mpp:g}"
        )
    rng = np.random.default_rng(seed)
    mpps = np.exp(rng.uniform(np.log(finest_mpp), np.log(coarsest), n))
    return [Place(source, u, v, float(mpp)) for (source, u, v), mpp in zip(rng.random((n, 3)).tolist(), mpps)]


def fixed_places(n: int, mpps: list[float], seed: int = 0) -> list[Place]:
    """n places shared evenly between the mpps, position uniform."""
    rng = np.random.default_rng(seed)
    rows = enumerate(rng.random((n, 3)).tolist())
    return [Place(source, u, v, float(mpps[i * len(mpps) // n])) for i, (source, u, v) in rows]


def pfid_any_resolution(
    encoder: Encoder, real: Sequence[Source], generated: list[Source], n: int, size_px: int, seed: int = 0
) -> PatchFid:
    """Patch FID at random scales, the same places in both. Scales: from the finest mpp that all slides have to the
    coarsest at which a crop fits into each."""
    if not real or not generated:
        raise BadInput("patch FID needs at least one real and one synthetic slide")
    every = [*real, *generated]
    places = any_resolution_places(n, max(s.finest_mpp for s in every), coarsest_mpp(every, size_px), seed)
    return _pfid(encoder, real, generated, places, size_px, None)


def pfid_urcdm(
    encoder: Encoder,
    real: Sequence[Source],
    generated: Sequence[Source],
    n: int,
    mpps: list[float],
    size_px: int,
    resize_px: int = 1024,
    seed: int = 0,
) -> PatchFid:
    """Patch FID over crops at fixed magnifications, resized to resize_px (antialiased bicubic) and pooled."""
    return _pfid(encoder, real, generated, fixed_places(n, mpps, seed), size_px, resize_px)


def crop_fid(real: FeatureSet, generated: FeatureSet) -> dict[float, float]:
    """FID of the crops of each mpp that both sets hold, by mpp, the coarsest first."""
    shared = sorted(set(real.mpp.tolist()) & set(generated.mpp.tolist()), reverse=True)
    if not shared:
        raise BadInput(
            f"real crops are at mpps {sorted(set(real.mpp.tolist()))}, generated ones at"
            f" {sorted(set(generated.mpp.tolist()))}: cut"
            " patches at the mpps of the levels"
        )
    return {mpp: fid(real.features[real.mpp == mpp], generated.features[generated.mpp == mpp]) for mpp in shared}


def place_features(
    encoders: list[Encoder], slides: Sequence[Source], places: list[Place], size_px: int, resize_px: int | None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Features of the crops at the places by each encoder, (n, d), and which slide each is of, (n,). Each crop is read once."""
    parts, sources = [], []
    for start in range(0, len(places), 256):  # in parts: crops of 1024 px are 3 MB each
        crops, which = read_places(slides, places[start : start + 256], size_px)
        if resize_px and resize_px != size_px:
            crops = np.stack([_resized(c, resize_px) for c in crops])
        batch = min(64, max(1, 2**24 // crops[0].size))
        parts.append([encode(encoder, crops, batch) for encoder in encoders])
        sources.append(which)
    return [np.concatenate(part) for part in zip(*parts)], np.concatenate(sources)


def _pfid(encoder, real, generated, places, size_px, resize_px) -> PatchFid:
    (first,), first_source = place_features([encoder], real, places, size_px, resize_px)
    (second,), second_source = place_features([encoder], generated, places, size_px, resize_px)
    return PatchFid(fid(first, second), first, second, first_source, second_source, places)


def _resized(crop, size_px):
    return np.asarray(Image.fromarray(crop).resize((size_px, size_px), Image.Resampling.BICUBIC))
