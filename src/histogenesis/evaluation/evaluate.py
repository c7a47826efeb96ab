"""The whole account of the generated patches: every metric with its interval and its floor, and the memorisation audit.

Generated patches are compared with held-out real ones. Each number stands between a floor (two halves of one tissue), other
patients (training against held-out patches) and ceilings (real patches made bad), all with as many patches at the same mpps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.ceilings import COMPRESSION, reference_sets
from histogenesis.evaluation.cells import DISTANCES, EXPECTED, compare
from histogenesis.evaluation.evaluate_c2st import NETWORK, c2st_metrics
from histogenesis.evaluation.evaluate_copies import (
    PIECES,
    audit_encoder,
    audit_pixels,
    guarded,
    not_measured,
    overall,
    render_pairs,
)
from histogenesis.evaluation.evaluate_morphology import morphology_metrics
from histogenesis.evaluation.files import write_json, write_metrics
from histogenesis.evaluation.references import halves, row_of_references, values
from histogenesis.evaluation.sensitivity import encoder_sensitivity
from histogenesis.evaluation.sets import Sets, matched
from histogenesis.evaluation.side_by_side import side_by_side
from histogenesis.evaluation.units import origins, units
from histogenesis.metrics.distances.frechet import fid_warning, infinity_warning
from histogenesis.metrics.distances.ssim import paired_scores
from histogenesis.metrics.encoders import features as store
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation


def encoder_metrics(
    encoder: Encoder, sets: Sets, options: Evaluation, out: Path, seed: int, speaks: dict | None = None
):
    """Entries of metrics.json for one encoder, and its feature sets (train, held_out, generated), cached under `out`.

    speaks: mpp -> kind of metric -> whether the encoder passed the sensitivity test there (evaluation/sensitivity.py).
    """
    folder = f"features/{encoder.name}"
    found = [store.cached(out / folder / f"{s.name}.h5", encoder, s, progress=True) for s in sets]
    rows, left_out = matched(sets, options.images)
    origin_ids = [origins(s) for s in sets]
    bad = {
        name: store.cached(out / folder / f"{name}.h5", encoder, s, progress=True).features
        for name, s in reference_sets(sets, rows, seed).items()
    }
    ends = np.cumsum([len(parts[0]) for parts in rows.values()]).tolist()
    places = {mpp: np.arange(end - len(rows[mpp][0]), end) for mpp, end in zip(rows, ends)}
    entries = []
    scopes: dict[float | None, list[np.ndarray]] = {}
    if rows:
        scopes[None] = [np.concatenate(parts) for parts in zip(*rows.values())]
    scopes |= {mpp: parts for mpp, parts in rows.items() if mpp not in left_out}
    for mpp, (train, held_out, generated) in scopes.items():
        parts = [f.features[r] for f, r in zip(found, (train, held_out, generated))]
        groups = [units(s, r, f) for s, r, f in zip(sets, (train, held_out, generated), parts)]
        own = [o[r] for o, r in zip(origin_ids, (train, held_out, generated))]
        cells = compare(parts[1], parts[2], [groups[1], groups[2]], options, seed, [own[1], own[2]])
        patients = compare(parts[1], parts[0], [groups[1], groups[0]], options, seed, [own[1], own[0]])
        either = halves(own[1], own[0] + len(sets.held_out), seed)
        real_reference = compare(*halves(parts[1], parts[0], seed), None, options, seed, list(either))
        at = np.concatenate(list(places.values())) if mpp is None else places[mpp]
        beyond = {name: values(parts[1], f[at], options, seed, [own[1], own[0]]) for name, f in bad.items()}
        sizes = len(held_out), len(generated), parts[0].shape[1]
        speak = [(speaks or {}).get(m, {}) for m in (rows if mpp is None else [mpp])]
        for name, cell in cells.items():
            kind = "distance" if name in DISTANCES else "manifold"
            warn = {"fid": fid_warning, "fid_infinity": infinity_warning}.get(name)
            note = [cell.why or (warn(*sizes) if warn else "")]
            note.append(encoder.shown(sets.train.images.shape[1], mpp) if mpp else "")
            entries.append(
                {
                    "name": name,
                    "encoder": encoder.name,
                    "mpp": mpp,
                    **dict(zip(("value", "low", "high"), cell)),
                    **row_of_references(
                        cell.value, real_reference[name], patients[name], {k: v[name] for k, v in beyond.items()}
                    ),
                    "interval": cell.interval,
                    "n_real": len(held_out),
                    "n_generated": len(generated),
                    "better": "lower" if name in DISTANCES else "higher",
                    "kind": kind,
                    "speaks": all(one[kind] for one in speak) if all(speak) else None,
                    "file": f"{folder}/generated.h5",
                    "note": _notes(note, sets.note),
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
        values, real_references, others = ([row[key] for row in rows] for key in ("value", "floor", "patients"))
        bad = {key: [row["ceilings"][key] for row in rows] for key in rows[0]["ceilings"]}
        bad[COMPRESSION] = [row[COMPRESSION] for row in rows]
        value, real_reference, other = (_mean(v) for v in (values, real_references, others))
        about = {
            "name": f"{name}_mean",
            "encoder": rows[0]["encoder"],
            "mpp": None,
            "value": value,
            "low": None,
            "high": None,
        }
        about |= row_of_references(
            value, (real_reference, None, None), (other, None, None), {k: _mean(v) for k, v in bad.items()}
        )
        note = f"mean of {', '.join(format(row['mpp'], 'g') for row in rows)} mpp"
        interval = {"interval": "no interval: a mean over resolutions of the same slides"}
        speaks = None if any(row["speaks"] is None for row in rows) else all(row["speaks"] for row in rows)
        means.append(rows[0] | about | interval | {"speaks": speaks, "note": note})
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
            scores = {n: paired_scores(a, b, options.n_folds, 500, seed) for n, (a, b) in pairs.items()}
        except BadInput as error:
            entries += [_missing(n, "pixels", mpp, "", str(error)) for n in ("ssim", "likelihood")]
            continue
        own = (units(s, r).checked().refused for s, r in ((sets.held_out, held_out), (sets.generated, generated)))
        refused = "; ".join(dict.fromkeys(filter(None, own)))
        ends = (None, None) if refused else ("low", "high")
        for name in ("ssim", "likelihood"):
            found = {n: (x[name]["value"], *(x[name].get(end) for end in ends)) for n, x in scores.items()}
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
                    "interval": f"no interval, {refused}"
                    if refused
                    else f"Student's, {options.n_folds} splits of random pairs",
                    "note": _notes(
                        "in nats per pixel and channel" if name == "likelihood" else "",
                        sets.note,
                    ),
                }
            )
    return entries


def evaluate(
    sets: Sets,
    encoders: list[Encoder],
    options: Evaluation,
    out: str | Path,
    seed: int = 1,
    training=None,
    also: Mapping[str, Callable] | None = None,
) -> dict:
    """Measure everything; write metrics.json and .csv, sensitivity.json, treatment.json, memorisation.json, closest_pairs.png
    and features/ under `out`.

    training: all training patches (evaluation/training_patches.py), where sets.train is a sample of them. also: what else is to
    be measured beside it. Returns {"metrics": [...], "memorisation": {...}}, and what each of `also` returns, by its name.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    entries, audits, sensitivities, all_features = [], {}, {}, {}
    empty = ", ".join(s.name for s in sets if not len(s))
    parts: dict[str, Callable] = dict(also or {})
    with tqdm(total=3 * len(encoders) + 4 + len(parts), desc="evaluating", unit="part", mininterval=0) as bar:

        def begin(part: str) -> None:
            bar.update(bool(bar.postfix))  # the part before is done
            bar.set_postfix_str(part)

        for encoder in encoders:
            try:
                if empty:
                    raise BadInput(f"no patches in: {empty}")
                begin(f"what {encoder.name} sees")
                sensitivity = sensitivities[encoder.name] = encoder_sensitivity(encoder, sets, options, seed)
                speaks = {float(mpp): one["speaks"] for mpp, one in sensitivity["mpps"].items()}
                begin(f"distances by {encoder.name}")
                found, features = encoder_metrics(encoder, sets, options, out, seed, speaks)
                entries += found
            except EXPECTED as error:  # this encoder cannot speak; the others can
                entries.append(_missing("fid", encoder.name, None, "", str(error)))
                audits[encoder.name] = not_measured(str(error))
                continue
            all_features[encoder.name] = features
            begin(f"copies by {encoder.name}")
            audits[encoder.name] = guarded(audit_encoder, encoder, sets, features, options)
        if not empty:
            rows, left_out = matched(sets, options.images)
            rows = {mpp: found for mpp, found in rows.items() if mpp not in left_out}
            told_apart = sets, all_features, rows, options, out, seed
            parts = {  # what takes longest comes first, so that processes end together
                "classifiers": partial(or_why, "c2st", NETWORK, c2st_metrics, *told_apart),
                "copies by pixels": partial(guarded, audit_pixels, sets, options, training, seed),
                **parts,
                "nuclei, glands, stains": partial(
                    or_why, "morphology", "morphology", morphology_metrics, sets, rows, options, seed
                ),
                "pixels": partial(pixel_metrics, sets, options, seed),
            }
        measured = side_by_side(parts, options.cpu_processes, begin)
        for name in ("nuclei, glands, stains", "classifiers", "pixels"):
            entries += measured.get(name, [])
        if "copies by pixels" in measured:
            audits[PIECES] = measured["copies by pixels"]
        bar.update()
    write_json(out / "sensitivity.json", {"encoders": sensitivities})
    codec = {"kind": "jpeg", **sets.codec.as_dict()} if sets.codec else None
    write_json(out / "treatment.json", {"codec": codec, "note": sets.treatment})
    found = {**overall(audits), "note": sets.note, "encoders": audits}
    write_json(out / "memorisation.json", found)
    render_pairs(out / "closest_pairs.png", sets, audits, training)
    write_metrics(out, entries)
    return {"metrics": entries, "memorisation": found} | {name: measured[name] for name in also or {}}


def or_why(name: str, encoder: str, call, *arguments) -> list[dict]:
    """The rows that a call returns, or one row that says why there are none."""
    try:
        return call(*arguments)
    except EXPECTED as error:
        return [_missing(name, encoder, None, "", str(error) or type(error).__name__)]


def _missing(name, encoder, mpp, file, why):
    blank = dict.fromkeys(("value", "low", "high")) | row_of_references(None, None, None, {}) | {"interval": ""}
    better = "higher" if name == "ssim" else "lower"
    about = {"name": name, "encoder": encoder, "mpp": mpp}
    rest = {"n_real": 0, "n_generated": 0, "better": better, "kind": None, "speaks": None, "file": file, "note": why}
    return about | blank | rest


def _notes(*parts) -> str:
    flat = [p for part in parts for p in (part if isinstance(part, list) else [part])]
    return "; ".join(p for p in flat if p)
