"""The whole account of the generated patches: every metric with its interval and its floor, and the memorisation audit.

Generated patches are compared with held-out real ones. Beside each number stands the floor: real training patches against
the same held-out ones, with as many patches at the same mpps, so that a reader sees how far from zero "real" is.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.cells import DISTANCES, EXPECTED, compare
from histogenesis.evaluation.evaluate_copies import (
    PIECES,
    audit_encoder,
    audit_pixels,
    draw_pairs,
    guarded,
    not_measured,
    overall,
)
from histogenesis.evaluation.sets import Sets, matched
from histogenesis.evaluation.units import origins, units
from histogenesis.metrics.distances.frechet import fid_warning, infinity_warning
from histogenesis.metrics.distances.ssim import paired_scores
from histogenesis.metrics.encoders import features as store
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation


def encoder_metrics(encoder: Encoder, sets: Sets, options: Evaluation, out: Path, seed: int):
    """Entries of metrics.json for one encoder, and its feature sets (train, held_out, generated), cached under `out`."""
    folder = f"features/{encoder.name}"
    found = [store.cached(out / folder / f"{s.name}.h5", encoder, s, progress=True) for s in sets]
    rows, left_out = matched(sets, options.images)
    repeats = [origins(s) for s in sets]
    entries = []
    scopes = {None: [np.concatenate(parts) for parts in zip(*rows.values())]} if rows else {}
    scopes |= {mpp: parts for mpp, parts in rows.items() if mpp not in left_out}
    for mpp, (train, held_out, generated) in scopes.items():
        parts = [f.features[r] for f, r in zip(found, (train, held_out, generated))]
        groups = [units(s, r, f) for s, r, f in zip(sets, (train, held_out, generated), parts)]
        own = [o[r] for o, r in zip(repeats, (train, held_out, generated))]
        made = compare(parts[1], parts[2], [groups[1], groups[2]], options, seed, [own[1], own[2]])
        floor = compare(parts[1], parts[0], [groups[1], groups[0]], options, seed, [own[1], own[0]])
        sizes = len(held_out), len(generated), parts[0].shape[1]
        for name, cell in made.items():
            warn = {"fid": fid_warning, "fid_infinity": infinity_warning}.get(name)
            note = [cell.why or (warn(*sizes) if warn else "")]
            entries.append(
                {
                    "name": name,
                    "encoder": encoder.name,
                    "mpp": mpp,
                    **dict(zip(("value", "low", "high"), cell)),
                    **dict(zip(("floor", "floor_low", "floor_high"), floor[name])),
                    "interval": cell.interval,
                    "n_real": len(held_out),
                    "n_generated": len(generated),
                    "better": "lower" if name in DISTANCES else "higher",
                    "file": f"{folder}/generated.h5",
                    "note": _notes(note, sets.note),
                }
            )
    for mpp, why in left_out.items():
        entries.append(_missing("fid", encoder.name, mpp, f"{folder}/generated.h5", why))
    return entries, found


def pixel_metrics(sets: Sets, options: Evaluation, seed: int) -> list[dict]:
    """SSIM and likelihood of random pairs, at each mpp."""
    rows, left_out = matched(sets, options.images)
    entries = []
    for mpp in (m for m in rows if m not in left_out):
        train, held_out, generated = rows[mpp]
        try:
            scores = [
                paired_scores(sets.held_out.images[held_out], s.images[r], options.splits, 500, seed)
                for s, r in ((sets.generated, generated), (sets.train, train))
            ]
        except BadInput as error:
            entries += [_missing(n, "pixels", mpp, "", str(error)) for n in ("ssim", "likelihood")]
            continue
        own = (units(s, r).checked().refused for s, r in ((sets.held_out, held_out), (sets.generated, generated)))
        refused = "; ".join(dict.fromkeys(filter(None, own)))
        for name in ("ssim", "likelihood"):
            made, floor = (score[name] | ({"low": None, "high": None} if refused else {}) for score in scores)
            entries.append(
                {
                    "name": name,
                    "encoder": "pixels",
                    "mpp": mpp,
                    "value": made["value"],
                    "low": made["low"],
                    "high": made["high"],
                    "floor": floor["value"],
                    "floor_low": floor["low"],
                    "floor_high": floor["high"],
                    "n_real": made["pairs"],
                    "n_generated": made["pairs"],
                    "better": "higher" if name == "ssim" else "lower",
                    "file": "",
                    "interval": f"no interval, {refused}"
                    if refused
                    else f"Student's, {options.splits} splits of random pairs",
                    "note": _notes(
                        "in nats per pixel and channel" if name == "likelihood" else "",
                        sets.note,
                    ),
                }
            )
    return entries


def evaluate(
    sets: Sets, encoders: list[Encoder], options: Evaluation, out: str | Path, seed: int = 1, training=None
) -> dict:
    """Measure everything; write metrics.json and .csv, memorisation.json, closest_pairs.png and features/ under `out`.

    training: all training patches (evaluation/training_patches.py), where sets.train is a sample of them. Returns {"metrics":
    [...], "memorisation": {...}}.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    entries, audits = [], {}
    empty = ", ".join(s.name for s in sets if not len(s))
    for encoder in encoders:
        try:
            if empty:
                raise BadInput(f"no patches in: {empty}")
            found, features = encoder_metrics(encoder, sets, options, out, seed)
            entries += found
        except EXPECTED as error:  # this encoder cannot speak; the others can
            entries.append(_missing("fid", encoder.name, None, "", str(error)))
            audits[encoder.name] = not_measured(str(error))
            continue
        audits[encoder.name] = guarded(audit_encoder, encoder, sets, features, options)
    if not empty:
        entries += pixel_metrics(sets, options, seed)
        audits[PIECES] = guarded(audit_pixels, sets, options, training, seed)
    found = {**overall(audits), "note": sets.note, "encoders": audits}
    write_json(out / "memorisation.json", found)
    draw_pairs(out / "closest_pairs.png", sets, audits, training)
    write_metrics(out, entries)
    return {"metrics": entries, "memorisation": found}


def write_metrics(out: Path, entries: list[dict]) -> None:
    """metrics.json, and the same as a table in metrics.csv: NaN (an interval of one split) becomes null, and empty there."""
    clean = [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in e.items()} for e in entries]
    write_json(Path(out) / "metrics.json", clean)
    unfinished = Path(out) / "metrics.csv.tmp"
    with open(unfinished, "w", newline="") as file:
        columns = list(dict.fromkeys(key for entry in clean for key in entry)) or ["name"]
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(clean)
    os.replace(unfinished, Path(out) / "metrics.csv")


def _missing(name, encoder, mpp, file, why):
    blank = dict.fromkeys(("value", "low", "high", "floor", "floor_low", "floor_high")) | {"interval": ""}
    better = "higher" if name == "ssim" else "lower"
    about = {"name": name, "encoder": encoder, "mpp": mpp}
    return about | blank | {"n_real": 0, "n_generated": 0, "better": better, "file": file, "note": why}


def _notes(*parts) -> str:
    flat = [p for part in parts for p in (part if isinstance(part, list) else [part])]
    return "; ".join(p for p in flat if p)


def write_json(path: Path, value) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    os.replace(unfinished, path)
