"""Both patch FIDs of a run, with intervals and the floor: real training slides against held-out ones at the same places."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from histogenesis.core.geometry import is_finer
from histogenesis.evaluation.cells import EXPECTED
from histogenesis.evaluation.crops import Place, Source, coarsest_mpp
from histogenesis.evaluation.pfid import any_resolution_places, fixed_places, place_features
from histogenesis.metrics.distances.blocks import spatial_blocks
from histogenesis.metrics.distances.frechet import fid, fid_warning
from histogenesis.metrics.distances.intervals import Units, by_name, group_interval
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation


def pfid_metrics(
    encoders: list[Encoder],
    train: Sequence[Source],
    held_out: Sequence[Source],
    generated: Sequence[Source],
    mpps: list[float],
    size_px: int,
    options: Evaluation,
    seed: int,
) -> list[dict]:
    """Entries of metrics.json, `pfid_any_resolution` and `pfid_urcdm` by each encoder. mpps: the latter's magnifications.

    The floor's places are those of the value, so all three sets of slides show the same scales and relative positions.
    """
    every = [*train, *held_out, *generated]
    if not train or not held_out or not generated:
        return []
    finest, coarsest, n = max(s.finest_mpp for s in every), coarsest_mpp(every, size_px), options.pfid_crops
    fit = [m for m in mpps if not is_finer(m, finest) and m <= coarsest]
    resize = options.pfid_resize_px or size_px
    ways: list[tuple[str, str, int | None, Callable[[], list[Place]]]] = [
        (
            "pfid_any_resolution",
            "random scales, same places",
            None,
            lambda: any_resolution_places(n, finest, coarsest, seed),
        )
    ]
    if fit:
        about = f"fixed at {', '.join(f'{m:g}' for m in fit)} mpp, {resize} px"
        ways.append(("pfid_urcdm", about, resize, lambda: fixed_places(n, fit, seed)))
    entries = []
    for name, about, resize_px, places in ways:
        try:
            at = places()
            found = [place_features(encoders, s, at, size_px, resize_px) for s in (train, held_out, generated)]
        except EXPECTED as error:
            entries += [_entry(name, encoder, None, None, str(error)) for encoder in encoders]
            continue
        slides = train, held_out, generated
        for encoder, *features in zip(encoders, *(f for f, _ in found)):
            of_train, of_held_out, of_generated = features
            own = [_units(s, which, at, f) for s, (_, which), f in zip(slides, found, features)]
            value, text = _with_interval(of_held_out, of_generated, [own[1], own[2]], options)
            real_reference, _ = _with_interval(of_held_out, of_train, [own[1], own[0]], options)
            note = f"{about}; whole slides, background included; crops of {size_px} px"
            note = "; ".join(
                filter(None, (note, fid_warning(len(of_held_out), len(of_generated), of_held_out.shape[1])))
            )
            entries.append(_entry(name, encoder, value, real_reference, note, len(of_held_out)) | {"interval": text})
    return entries


def _units(slides: Sequence[Source], which, places, features) -> Units:
    """Patients, where the slides are of several; blocks of the one slide; none of several slides of one patient."""
    patients = [slide.patient for slide in slides]
    if len(set(patients)) > 1:
        return by_name(np.array(patients)[which])
    if len(slides) > 1:
        return by_name(which, "slide")
    return spatial_blocks([(place.u, place.v) for place in places], features)


def _with_interval(real, other, units, options) -> tuple[tuple, str]:
    value = fid(real, other)
    found = group_interval(fid, [real, other], value, units, squared=True, n_resamples=options.n_resamples)
    if np.isnan(found.low[0]):
        return (value, None, None), found.text
    return (value, max(0.0, float(found.low[0])), float(found.high[0])), found.text


def _entry(name, encoder, value, real_reference, note, n=0):
    keys = ("value", "low", "high"), ("floor", "floor_low", "floor_high")
    entry = {"name": name, "encoder": encoder.name, "mpp": None}
    for names, found in zip(keys, (value, real_reference)):
        entry |= dict(zip(names, found or (None, None, None)))
    return entry | {"n_real": n, "n_generated": n, "better": "lower", "file": "", "note": note, "interval": ""}
