"""Both patch FIDs of a run, with intervals and the floor: real training slides against held-out ones at the same places."""

from __future__ import annotations

from histogenesis.config import Evaluation
from histogenesis.errors import BadInput
from histogenesis.metrics.crops import Source, coarsest_mpp
from histogenesis.metrics.encoders import Encoder
from histogenesis.metrics.frechet import fid, fid_warning
from histogenesis.metrics.intervals import subsample_interval
from histogenesis.metrics.pfid import PatchFid, pfid_any_resolution, pfid_urcdm


def pfid_metrics(
    encoder: Encoder,
    train: list[Source],
    held_out: list[Source],
    generated: list[Source],
    mpps: list[float],
    size_px: int,
    options: Evaluation,
    seed: int,
) -> list[dict]:
    """Entries of metrics.json, `pfid_any_resolution` and `pfid_urcdm`. mpps: the fixed magnifications of the latter."""
    every = [*train, *held_out, *generated]
    if not train or not held_out or not generated:
        return []
    fit = [m for m in mpps if max(s.finest_mpp for s in every) <= m * (1 + 1e-6) and m <= coarsest_mpp(every, size_px)]

    def any_resolution(other):
        return pfid_any_resolution(encoder, held_out, other, options.pfid_crops, size_px, seed)

    def urcdm(other):
        resize = options.pfid_resize_px or size_px
        return pfid_urcdm(encoder, held_out, other, options.pfid_crops, fit, size_px, resize, seed)

    about = {
        "pfid_any_resolution": "random scales, same places",
        "pfid_urcdm": f"fixed at {', '.join(f'{m:g}' for m in fit)} mpp, {options.pfid_resize_px or size_px} px",
    }
    entries = []
    for name, measure in (("pfid_any_resolution", any_resolution), ("pfid_urcdm", urcdm)):
        if name == "pfid_urcdm" and not fit:
            continue
        try:
            made, floor = measure(generated), measure(train)
        except BadInput as error:
            entries.append(_entry(name, encoder, None, None, options, str(error)))
            continue
        note = f"{about[name]}; whole slides, background included; crops of {size_px} px"
        warning = fid_warning(len(made.real), len(made.generated), made.real.shape[1])
        entries.append(_entry(name, encoder, made, floor, options, "; ".join(filter(None, (note, warning)))))
    return entries


def _entry(name, encoder, made: PatchFid | None, floor: PatchFid | None, options, note) -> dict:
    entry = {"name": name, "encoder": encoder.name, "mpp": None}
    for key, found in (("value", made), ("floor", floor)):
        low_key, high_key = ("low", "high") if key == "value" else ("floor_low", "floor_high")
        entry |= {key: None, low_key: None, high_key: None}
        if found:
            low, high = subsample_interval(fid, [found.real, found.generated], found.value, repeats=options.repeats)
            entry |= {key: found.value, low_key: max(0.0, float(low[0])), high_key: float(high[0])}
    n = len(made.real) if made else 0
    return entry | {"n_real": n, "n_generated": n, "better": "lower", "file": "", "note": note}
