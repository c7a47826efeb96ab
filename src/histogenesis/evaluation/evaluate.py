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
from scipy import stats

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.evaluate_copies import PIECES, audit_encoder, audit_pixels, draw_pairs, overall
from histogenesis.evaluation.sets import Sets, matched
from histogenesis.metrics.distances.frechet import fid, fid_infinity, fid_warning
from histogenesis.metrics.distances.intervals import FEWEST_GROUPS, subsample_interval
from histogenesis.metrics.distances.kernel import cmmd, kid, mmd2, polynomial
from histogenesis.metrics.distances.manifold import NAMES as MANIFOLD
from histogenesis.metrics.distances.manifold import manifold
from histogenesis.metrics.distances.ssim import paired_scores
from histogenesis.metrics.encoders import features as store
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation

BOUNDS = {"fid": (0, np.inf), "precision": (0, 1), "recall": (0, 1), "density": (0, np.inf), "coverage": (0, 1)}
DISTANCES = ("fid", "fid_infinity", "kid", "cmmd")
INTERVAL_MOST = 1000


def compare(reference, other, groups, options: Evaluation, seed: int) -> dict[str, tuple[float, float, float]]:
    """name -> (value, low, high) of each metric of two feature sets (n, d), `reference` being the real held-out one."""

    def fast(a, b, sizes=4):
        found = manifold(a, b, min(options.neighbours, len(a) - 1, len(b) - 1))
        return np.array(
            [
                fid(a, b),
                fid_infinity(a, b, sizes, 1, seed).infinite,
                mmd2(a, b, polynomial),
                cmmd(a, b),
                *(found[n] for n in MANIFOLD),
            ]
        )

    reference, other = (np.asarray(f, np.float64) for f in (reference, other))
    value = fast(reference, other, sizes=8)
    value[1] = fid_infinity(reference, other, seed=seed).infinite
    value[2] = kid(reference, other, seed=seed).value
    low, high = subsample_interval(
        fast, [reference, other], value, groups, repeats=options.repeats, most=INTERVAL_MOST, seed=seed
    )
    names = [*DISTANCES, *MANIFOLD]
    ends = [BOUNDS.get(name, (-np.inf, np.inf)) for name in names]
    return {
        name: (float(v), float(max(a, least)), float(min(b, most)))
        for name, v, a, b, (least, most) in zip(names, value, low, high, ends)
    }


def encoder_metrics(encoder: Encoder, sets: Sets, options: Evaluation, out: Path, seed: int):
    """Entries of metrics.json for one encoder, and its feature sets (train, held_out, generated), cached under `out`."""
    folder = f"features/{encoder.name}"
    found = [store.cached(out / folder / f"{s.name}.h5", encoder, s, progress=True) for s in sets]
    rows, left_out = matched(sets, options.images)
    entries = []
    scopes = {None: [np.concatenate(parts) for parts in zip(*rows.values())]} if rows else {}
    scopes |= {mpp: parts for mpp, parts in rows.items() if mpp not in left_out}
    for mpp, (train, held_out, generated) in scopes.items():
        groups = [s.patient[r] for s, r in zip(sets, (train, held_out, generated))]
        real = found[1].features[held_out]
        made = compare(real, found[2].features[generated], [groups[1], groups[2]], options, seed)
        floor = compare(real, found[0].features[train], [groups[1], groups[0]], options, seed)
        dimensions = found[0].features.shape[1]
        for name in made:
            note = [fid_warning(len(held_out), len(generated), dimensions)] if name.startswith("fid") else []
            if name == "kid":
                error = (made["kid"][2] - made["kid"][1]) / (2 * stats.t.ppf(0.975, options.repeats - 1))
                note.append(f"standard error {error:.2g}")
            entries.append(
                {
                    "name": name,
                    "encoder": encoder.name,
                    "mpp": mpp,
                    **dict(zip(("value", "low", "high"), made[name])),
                    **dict(zip(("floor", "floor_low", "floor_high"), floor[name])),
                    "n_real": len(held_out),
                    "n_generated": len(generated),
                    "better": "lower" if name in DISTANCES else "higher",
                    "file": f"{folder}/generated.h5",
                    "note": _notes(note, sets.note, _interval_note(groups[1:])),
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
        scores = []
        for s, r in ((sets.generated, generated), (sets.train, train)):
            try:
                scores.append(paired_scores(sets.held_out.images[held_out], s.images[r], options.splits, 500, seed))
            except BadInput as error:
                return [_missing(n, "pixels", mpp, "", str(error)) for n in ("ssim", "likelihood")]
        for name in ("ssim", "likelihood"):
            made, floor = scores[0][name], scores[1][name]
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
                    "note": _notes(
                        [f"Student's interval over {options.splits} splits of random pairs"],
                        "in nats per pixel and channel" if name == "likelihood" else "",
                        sets.note,
                    ),
                }
            )
    return entries


def evaluate(sets: Sets, encoders: list[Encoder], options: Evaluation, out: str | Path, seed: int = 1) -> dict:
    """Measure everything; write metrics.json and .csv, memorisation.json, closest_pairs.png and features/ under `out`.

    Returns {"metrics": [...], "memorisation": {...}}.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    entries, audits = [], {}
    for encoder in encoders:
        if not all(len(s) for s in sets):
            empty = ", ".join(s.name for s in sets if not len(s))
            why = f"no patches in: {empty}"
            entries.append(_missing("fid", encoder.name, None, "", why))
            audits[encoder.name] = {"verdict": "too few", "sentence": why}
            continue
        found, features = encoder_metrics(encoder, sets, options, out, seed)
        entries += found
        audits[encoder.name] = audit_encoder(encoder, sets, features, options)
    if all(len(s) for s in sets):
        entries += pixel_metrics(sets, options, seed)
        audits[PIECES] = audit_pixels(sets, options)
    found = {**overall(audits), "note": sets.note, "encoders": audits}
    write_json(out / "memorisation.json", found)
    draw_pairs(out / "closest_pairs.png", sets, audits)
    write_metrics(out, entries)
    return {"metrics": entries, "memorisation": found}


def write_metrics(out: Path, entries: list[dict]) -> None:
    """metrics.json, and the same as a table in metrics.csv: NaN (an interval of one split) becomes null, and empty there."""
    clean = [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in e.items()} for e in entries]
    write_json(Path(out) / "metrics.json", clean)
    unfinished = Path(out) / "metrics.csv.tmp"
    with open(unfinished, "w", newline="") as file:
        table = csv.DictWriter(file, list(clean[0]) if clean else ["name"], lineterminator="\n")
        table.writeheader()
        table.writerows(clean)
    os.replace(unfinished, Path(out) / "metrics.csv")


def _missing(name, encoder, mpp, file, why):
    blank = dict.fromkeys(("value", "low", "high", "floor", "floor_low", "floor_high"))
    better = "higher" if name == "ssim" else "lower"
    about = {"name": name, "encoder": encoder, "mpp": mpp}
    return about | blank | {"n_real": 0, "n_generated": 0, "better": better, "file": file, "note": why}


def _interval_note(groups) -> str:
    many = [len(set(g)) >= FEWEST_GROUPS for g in groups]
    if not any(many):
        return "95 % interval by subsampling patches (too few patients and slides to draw those)"
    real, generated = "patients" if many[0] else "real patches", "synthetic slides" if many[1] else "generated patches"
    return f"95 % interval by subsampling {real} and {generated}"


def _notes(*parts) -> str:
    flat = [p for part in parts for p in (part if isinstance(part, list) else [part])]
    return "; ".join(p for p in flat if p)


def write_json(path: Path, value) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    os.replace(unfinished, path)
