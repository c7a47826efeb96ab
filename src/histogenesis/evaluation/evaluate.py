"""The whole account of the generated patches: every metric with its interval and its floor, and the memorisation audit.

Generated patches are compared with held-out real ones. Each number stands between a floor (two halves of one tissue), other
patients (training against held-out patches) and ceilings (real patches made bad), all with as many patches at the same mpps.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
from scipy import stats

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.evaluate_c2st import c2st_metrics
from histogenesis.evaluation.evaluate_copies import PIECES, audit_encoder, audit_pixels, draw_pairs, overall
from histogenesis.evaluation.evaluate_morphology import morphology_metrics
from histogenesis.evaluation.references import COMPRESSION, halves, reference_sets, row_of_references, values
from histogenesis.evaluation.sensitivity import encoder_sensitivity
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


def encoder_metrics(
    encoder: Encoder, sets: Sets, options: Evaluation, out: Path, seed: int, speaks: dict | None = None
):
    """Entries of metrics.json for one encoder, and its feature sets (train, held_out, generated), cached under `out`.

    speaks: mpp -> kind of metric -> whether the encoder passed the sensitivity test there (evaluation/sensitivity.py).
    """
    folder = f"features/{encoder.name}"
    found = [store.cached(out / folder / f"{s.name}.h5", encoder, s, progress=True) for s in sets]
    rows, left_out = matched(sets, options.images)
    bad = {
        name: store.cached(out / folder / f"{name}.h5", encoder, s, progress=True).features
        for name, s in reference_sets(sets, rows, seed).items()
    }
    ends = np.cumsum([len(parts[0]) for parts in rows.values()]).tolist()
    places = {mpp: np.arange(end - len(rows[mpp][0]), end) for mpp, end in zip(rows, ends)}
    entries = []
    scopes = {None: [np.concatenate(parts) for parts in zip(*rows.values())]} if rows else {}
    scopes |= {mpp: parts for mpp, parts in rows.items() if mpp not in left_out}
    for mpp, (train, held_out, generated) in scopes.items():
        groups = [s.patient[r] for s, r in zip(sets, (train, held_out, generated))]
        real, other = found[1].features[held_out], found[0].features[train]
        made = compare(real, found[2].features[generated], [groups[1], groups[2]], options, seed)
        patients = compare(real, other, [groups[1], groups[0]], options, seed)
        floor = compare(*halves(real, other, seed), [None, None], options, seed)
        at = np.concatenate(list(places.values())) if mpp is None else places[mpp]
        beyond = {name: values(real, features[at], options, seed) for name, features in bad.items()}
        dimensions = real.shape[1]
        speak = [(speaks or {}).get(m, {}) for m in (rows if mpp is None else [mpp])]
        for name in made:
            kind = "distance" if name in DISTANCES else "manifold"
            note = [fid_warning(len(held_out), len(generated), dimensions)] if name.startswith("fid") else []
            if name == "kid":
                error = (made["kid"][2] - made["kid"][1]) / (2 * stats.t.ppf(0.975, options.repeats - 1))
                note.append(f"standard error {error:.2g}")
            note.append(encoder.shown(sets.train.images.shape[1], mpp) if mpp else "")
            entries.append(
                {
                    "name": name,
                    "encoder": encoder.name,
                    "mpp": mpp,
                    **dict(zip(("value", "low", "high"), made[name])),
                    **row_of_references(
                        made[name][0], floor[name], patients[name], {k: v[name] for k, v in beyond.items()}
                    ),
                    "n_real": len(held_out),
                    "n_generated": len(generated),
                    "better": "lower" if name in DISTANCES else "higher",
                    "kind": kind,
                    "speaks": all(one[kind] for one in speak) if all(speak) else None,
                    "file": f"{folder}/generated.h5",
                    "note": _notes(note, sets.note, _interval_note(groups[1:])),
                }
            )
    entries += _means(entries)
    for mpp, why in left_out.items():
        entries.append(_missing("fid", encoder.name, mpp, f"{folder}/generated.h5", why))
    return entries, found


def _means(entries: list[dict]) -> list[dict]:
    """Precision and recall of each mpp, averaged, as URCDM reports them; from two mpps on."""
    means = []
    for name in ("precision", "recall"):
        rows = [e for e in entries if e["name"] == name and e["mpp"] is not None]
        if len(rows) < 2:
            continue
        values, floors, others = ([row[key] for row in rows] for key in ("value", "floor", "patients"))
        bad = {key: [row["ceilings"][key] for row in rows] for key in rows[0]["ceilings"]}
        bad[COMPRESSION] = [row[COMPRESSION] for row in rows]
        value, floor, other = (_mean(v) for v in (values, floors, others))
        about = {
            "name": f"{name}_mean",
            "encoder": rows[0]["encoder"],
            "mpp": None,
            "value": value,
            "low": None,
            "high": None,
        }
        about |= row_of_references(
            value, (floor, None, None), (other, None, None), {k: _mean(v) for k, v in bad.items()}
        )
        note = f"mean of {', '.join(format(row['mpp'], 'g') for row in rows)} mpp"
        means.append(rows[0] | about | {"speaks": all(row["speaks"] for row in rows), "note": note})
    return means


def _mean(values) -> float | None:
    return None if any(v is None for v in values) else float(np.mean(values))


def pixel_metrics(sets: Sets, options: Evaluation, seed: int) -> list[dict]:
    """SSIM and likelihood of random pairs, at each mpp."""
    rows, left_out = matched(sets, options.images)
    entries = []
    for mpp in (m for m in rows if m not in left_out):
        train, held_out, generated = rows[mpp]
        real, other = sets.held_out.images[held_out], sets.train.images[train]
        bad = {name: s.images for name, s in reference_sets(sets, {mpp: rows[mpp]}, seed).items()}
        pairs = {"value": (real, sets.generated.images[generated]), "patients": (real, other)}
        pairs |= {"floor": halves(real, other, seed)} | {name: (real, images) for name, images in bad.items()}
        try:
            scores = {n: paired_scores(a, b, options.splits, 500, seed) for n, (a, b) in pairs.items()}
        except BadInput as error:
            return [_missing(n, "pixels", mpp, "", str(error)) for n in ("ssim", "likelihood")]
        for name in ("ssim", "likelihood"):
            found = {n: tuple(score[name][k] for k in ("value", "low", "high")) for n, score in scores.items()}
            many = scores["value"][name]["pairs"]
            entries.append(
                {
                    "name": name,
                    "encoder": "pixels",
                    "mpp": mpp,
                    **dict(zip(("value", "low", "high"), found["value"])),
                    **row_of_references(
                        found["value"][0], found["floor"], found["patients"], {n: found[n][0] for n in bad}
                    ),
                    "n_real": many,
                    "n_generated": many,
                    "better": "higher" if name == "ssim" else "lower",
                    "kind": "pixels",
                    "speaks": None,
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
    """Measure everything; write metrics.json and .csv, sensitivity.json, treatment.json, memorisation.json, closest_pairs.png
    and features/ under `out`. Returns {"metrics": [...], "memorisation": {...}}.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    entries, audits, sensitivities, all_features = [], {}, {}, {}
    for encoder in encoders:
        if not all(len(s) for s in sets):
            empty = ", ".join(s.name for s in sets if not len(s))
            why = f"no patches in: {empty}"
            entries.append(_missing("fid", encoder.name, None, "", why))
            audits[encoder.name] = {"verdict": "too few", "sentence": why}
            continue
        seen = sensitivities[encoder.name] = encoder_sensitivity(encoder, sets, options, seed)
        speaks = {float(mpp): one["speaks"] for mpp, one in seen["mpps"].items()}
        found, features = encoder_metrics(encoder, sets, options, out, seed, speaks)
        entries += found
        all_features[encoder.name] = features
        audits[encoder.name] = audit_encoder(encoder, sets, features, options)
    if all(len(s) for s in sets):
        rows, left_out = matched(sets, options.images)
        rows = {mpp: parts for mpp, parts in rows.items() if mpp not in left_out}
        entries += morphology_metrics(sets, rows, options, seed)
        entries += c2st_metrics(sets, all_features, rows, options, out, seed)
        entries += pixel_metrics(sets, options, seed)
        audits[PIECES] = audit_pixels(sets, options)
    write_json(out / "sensitivity.json", {"encoders": sensitivities})
    codec = {"kind": "jpeg", **sets.codec.as_dict()} if sets.codec else None
    write_json(out / "treatment.json", {"codec": codec, "note": sets.treatment})
    found = {**overall(audits), "note": sets.note, "encoders": audits}
    write_json(out / "memorisation.json", found)
    draw_pairs(out / "closest_pairs.png", sets, audits)
    write_metrics(out, entries)
    return {"metrics": entries, "memorisation": found}


def write_metrics(out: Path, entries: list[dict]) -> None:
    """metrics.json, and the same as a table in metrics.csv: NaN (an interval of one split) becomes null, and empty there."""
    clean = [_finite(e) for e in entries]
    write_json(Path(out) / "metrics.json", clean)
    flat = [_flat(e) for e in clean]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    unfinished = Path(out) / "metrics.csv.tmp"
    with open(unfinished, "w", newline="") as file:
        table = csv.DictWriter(file, columns or ["name"], lineterminator="\n")
        table.writeheader()
        table.writerows(flat)
    os.replace(unfinished, Path(out) / "metrics.csv")


def _finite(value):
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _flat(row: dict) -> dict:
    """ceilings: {phase: 1} -> ceiling_phase: 1."""
    rest = {k: v for k, v in row.items() if k != "ceilings"}
    return rest | {f"ceiling_{k}": v for k, v in (row.get("ceilings") or {}).items()}


def _missing(name, encoder, mpp, file, why):
    blank = dict.fromkeys(("value", "low", "high")) | row_of_references(None, None, None, {})
    better = "higher" if name == "ssim" else "lower"
    about = {"name": name, "encoder": encoder, "mpp": mpp}
    rest = {"n_real": 0, "n_generated": 0, "better": better, "kind": None, "speaks": None, "file": file, "note": why}
    return about | blank | rest


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
