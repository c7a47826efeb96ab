"""The account of samples that a model drew: every metric for all classes together and for each, with interval and floor, the
memorisation audit, and which of them are shown.

Every number stands between a floor, other patients and ceilings, as everywhere (references.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.core.files import written
from histogenesis.evaluation.ceilings import reference_sets
from histogenesis.evaluation.cells import DISTANCES, EXPECTED, compare
from histogenesis.evaluation.evaluate import or_why
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
from histogenesis.evaluation.sets import FEWEST, Sets
from histogenesis.evaluation.units import origins
from histogenesis.metrics.distances.frechet import fid_warning, infinity_warning
from histogenesis.metrics.distances.neighbours import nearest
from histogenesis.metrics.distances.ssim import paired_scores
from histogenesis.metrics.encoders import features as store
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.recipe import Evaluation
from histogenesis.report.training_pictures import save_sheet

ALL = "all"


def scopes(sets: Sets, images: int) -> dict[str, list[np.ndarray]]:
    """Rows of train, held_out and generated for each class, equally many and spread evenly; `all` has those of all classes."""
    found = {}
    for label in sorted(set(sets.generated.label.tolist())):
        rows = [np.flatnonzero(s.label == label) for s in sets]
        n = min(images, *map(len, rows))
        found[label] = [r[np.linspace(0, len(r) - 1, n).round().astype(int)] if n else r[:0] for r in rows]
    together = {ALL: [np.concatenate(parts) for parts in zip(*found.values())]}
    return together | (found if len(found) > 1 else {})


def evaluate_samples(
    sets: Sets, encoders: list[Encoder], options: Evaluation, out: Path, seed: int = 1, training=None
) -> dict:
    """Write metrics.json and .csv, memorisation.json, closest_pairs.png, shown.png and .json, features/ and, where the mpp
    is known, c2st/ under `out`.

    training: all training patches, where sets.train is a sample of them.
    Returns {"metrics": [...], "memorisation": {...}}.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = scopes(sets, options.images)
    entries, audits, sensitivities, shown_by, by_encoder = [], {}, {}, None, {}
    for encoder in encoders:
        folder = f"features/{encoder.name}"
        try:
            features = [store.cached(out / folder / f"{s.name}.h5", encoder, s, progress=True) for s in sets]
        except EXPECTED as error:  # this encoder cannot speak; the others can
            entries.append(entry("fid", encoder.name, ALL, None, {}, 0, str(error)))
            audits[encoder.name] = not_measured(str(error))
            continue
        shown_by = features, encoder.name
        by_encoder[encoder.name] = features
        speaks = sensitivities[encoder.name] = encoder_sensitivity(encoder, sets, options, seed)
        for label, parts in rows.items():
            bad = {
                name: store.encode(encoder, distorted.images, mpp=distorted.mpp)
                for name, distorted in reference_sets(sets, {0.0: parts}, seed).items()
            }
            entries += encoder_entries(encoder.name, label, features, bad, parts, sets, options, seed, speaks["speaks"])
        audits[encoder.name] = guarded(audit_encoder, encoder, sets, features, options)
    if shown_by is None:
        raise BadInput("; ".join(str(one["note"]) for one in entries))
    for label, parts in rows.items():
        entries += pixel_entries(label, parts, sets, options, seed)
    entries += tissue_entries(rows[ALL], sets, by_encoder, options, out, seed)
    audits[PIECES] = guarded(audit_pixels, sets, options, training, seed)
    found = {**overall(audits), "note": sets.note, "encoders": audits}
    write_json(out / "memorisation.json", found)
    render_pairs(out / "closest_pairs.png", sets, audits, training)
    show(out, sets, *shown_by, options.n_shown)
    codec = {"kind": "jpeg", **sets.codec.as_dict()} if sets.codec else None
    write_json(out / "treatment.json", {"codec": codec, "note": sets.treatment})
    write_json(out / "sensitivity.json", {"encoders": sensitivities})
    write_metrics(out, entries)
    return {"metrics": entries, "memorisation": found}


def encoder_entries(
    name: str, label: str, features, bad, rows, sets: Sets, options: Evaluation, seed: int, speaks
) -> list[dict]:
    """Distances, precision and recall of one class (or all), by one encoder. bad: name -> features of what is compared for
    scale (references.py), of these training rows; speaks: kind of metric -> whether the encoder may speak."""
    held_out, generated = rows[1:]
    if len(held_out) < FEWEST:
        why = f"too few patches ({len(held_out)} of each kind; at least {FEWEST} are needed)"
        return [entry("fid", name, label, None, {}, 0, why)]
    parts = [f.features[r] for f, r in zip(features, rows)]
    own = [origins(s)[r] for s, r in zip(sets, rows)]
    patients = [s.patient[r] for s, r in zip(sets, rows)]
    cells = compare(parts[1], parts[2], [patients[1], None], options, seed, [own[1], own[2]])
    other = compare(parts[1], parts[0], [patients[1], patients[0]], options, seed, [own[1], own[0]])
    either = halves(own[1], own[0] + len(sets.held_out), seed)
    real_reference = compare(*halves(parts[1], parts[0], seed), None, options, seed, list(either))
    beyond = {n: values(parts[1], f, options, seed, [own[1], own[0]]) for n, f in bad.items()}
    sizes = len(held_out), len(generated), parts[0].shape[1]
    found = []
    for metric, cell in cells.items():
        warn = {"fid": fid_warning, "fid_infinity": infinity_warning}.get(metric)
        note = cell.why or (warn(*sizes) if warn else "")
        stands = row_of_references(
            cell.value, real_reference[metric], other[metric], {n: v[metric] for n, v in beyond.items()}
        )
        kind = "distance" if metric in DISTANCES else "manifold"
        row = entry(metric, name, label, cell[:3], stands, len(held_out), note)
        found.append(row | {"interval": cell.interval, "kind": kind, "speaks": speaks.get(kind)})
    return found


def pixel_entries(label: str, rows, sets: Sets, options: Evaluation, seed: int) -> list[dict]:
    """SSIM and likelihood of random pairs over splits of the held-out set (Son 2023, section 3.1)."""
    train, held_out, generated = rows
    real, other = sets.held_out.images[held_out], sets.train.images[train]
    pairs = {"value": (real, sets.generated.images[generated]), "patients": (real, other)}
    pairs |= {"floor": halves(real, other, seed)} if len(real) == len(other) else {}
    pairs |= {n: (real, s.images) for n, s in reference_sets(sets, {0.0: rows}, seed).items()}
    try:
        scores = {n: paired_scores(a, b, options.n_folds, 500, seed) for n, (a, b) in pairs.items()}
    except BadInput as error:
        return [entry(metric, "pixels", label, None, {}, 0, str(error)) for metric in ("ssim", "likelihood")]
    note, found = f"Student's interval over {options.n_folds} splits of random pairs", []
    for metric in ("ssim", "likelihood"):
        own = {n: tuple(score[metric][k] for k in ("value", "low", "high")) for n, score in scores.items()}
        beyond = {n: own[n][0] for n in own if n not in ("value", "patients", "floor")}
        stands = row_of_references(own["value"][0], own.get("floor"), own["patients"], beyond)
        row = entry(metric, "pixels", label, own["value"], stands, scores["value"][metric]["pairs"], note)
        found.append(row | {"kind": "pixels"})
    return found


def tissue_entries(rows, sets: Sets, by_encoder: dict, options: Evaluation, out: Path, seed: int) -> list[dict]:
    """Of all classes together: nuclei, tissue and stains, and the classifier that tells real from generated, as for slides
    (evaluate.py). None where the mpp is not known, or patches are too few. by_encoder: name -> features of the three sets."""
    mpp = float(sets.generated.mpp[0])
    if not mpp or len(rows[1]) < FEWEST:
        return []
    at = {mpp: rows}
    found = or_why("morphology", "morphology", morphology_metrics, sets, at, options, seed)
    found += or_why("c2st", NETWORK, c2st_metrics, sets, by_encoder, at, options, out, seed)
    return [{**row, "class": ALL, "n": row["n_generated"]} for row in found]


def entry(metric: str, encoder: str, label: str, measured, stands: dict, n: int, note: str) -> dict:
    """One row of metrics.json; measured: (value, low, high), or None where nothing could be measured; stands: what it stands
    between."""
    better = "lower" if metric in (*DISTANCES, "likelihood") else "higher"
    about = {"name": metric, "encoder": encoder, "class": label}
    about |= dict(zip(("value", "low", "high"), measured or (None, None, None)))
    about |= stands or row_of_references(None, None, None, {})
    return about | {"n": n, "better": better, "kind": None, "speaks": None, "note": note, "interval": ""}


def show(out: Path, sets: Sets, features, encoder: str, n_shown: int) -> None:
    """shown.png: of each class so many samples at even ranks of their distance to the nearest held-out patch of that class, the
    nearest first. Nobody chooses: the rule shows the best, the worst and what lies between. shown.json names them."""
    chosen = []
    for label in sorted(set(sets.generated.label.tolist())):
        generated, real = (np.flatnonzero(s.label == label) for s in (sets.generated, sets.held_out))
        if len(real):
            far, _ = nearest(features[2].features[generated], features[1].features[real])
            generated = generated[np.argsort(far, kind="stable")]
        picked = generated[np.linspace(0, len(generated) - 1, min(n_shown, len(generated))).round().astype(int)]
        chosen += [{"class": label, "sample": int(k)} for k in picked]
    rows = [one["sample"] for one in chosen]
    with written(out / "shown.png") as part:
        save_sheet(part, sets.generated.images[rows], [one["class"] for one in chosen])
    rule = f"even ranks of the distance to the nearest held-out patch of the class, by {encoder}, the nearest first"
    write_json(out / "shown.json", {"rule": rule, "shown": chosen})
