"""Real or generated, by a classifier: accuracy on patients that it has not seen, and the patches that it was surest of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.evaluation.ceilings import reference_sets
from histogenesis.evaluation.files import write_json
from histogenesis.evaluation.references import halves, row_of_references
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.classifier import C2st, c2st, logistic, small_network
from histogenesis.metrics.distances.intervals import FEWEST_GROUPS, t_interval
from histogenesis.recipe import Evaluation
from histogenesis.report.training_pictures import save_grid

NETWORK = "small-network"
SURE = 8  # patches of each kind that are shown


def c2st_metrics(
    sets: Sets, features: dict, rows: dict[float, list], options: Evaluation, out: Path, seed: int
) -> list[dict]:
    """Rows `c2st` of metrics.json for each mpp of `rows`: the small network on pixels, and logistic regression on the
    features of each encoder, features: name -> (train, held_out, generated FeatureSets).

    Real is all real, training and held-out patches; folds are by patient. Writes c2st/{mpp}.png and .json under `out`: the
    patches that the network was surest of, rightly or not.
    """
    entries = []
    for mpp, (train, held_out, generated) in rows.items() if options.c2st_steps else ():
        groups = [s.patient[r] for s, r in zip(sets, (train, held_out, generated))]
        bad = {name: s.images for name, s in reference_sets(sets, {mpp: rows[mpp]}, seed).items() if name == "phase"}
        images = [s.images[r] for s, r in zip(sets, (train, held_out, generated))]
        found, row = _row(NETWORK, mpp, images, groups, bad, small_network(options.c2st_steps), seed)
        picture = Path("c2st") / f"{mpp:g}.png"
        _show(Path(out), picture, found, sets, (train, held_out, generated))
        entries.append(row | {"file": str(picture)})
        for name, parts in features.items():
            x = [part.features[r] for part, r in zip(parts, (train, held_out, generated))]
            entries.append(_row(name, mpp, x, groups, {}, logistic, seed)[1])
    return entries


def _row(name, mpp, parts, groups, bad, classify, seed) -> tuple[C2st, dict]:
    train, held_out, generated = parts
    real, patients = np.concatenate([train, held_out]), np.concatenate(groups[:2])
    found = c2st(real, generated, patients, groups[2], classify, seed=seed)
    one, two = halves(train, held_out, seed)
    real_reference = c2st(one, two, np.arange(len(one)), np.arange(len(two)), classify, seed=seed).accuracy
    other = c2st(held_out, train, groups[1], groups[0], classify, seed=seed).accuracy
    ceilings = {n: c2st(real, x, patients, groups[0], classify, seed=seed).accuracy for n, x in bad.items()}
    of_each = found.of_groups(patients, groups[2])
    many = len(set(patients))
    if many >= FEWEST_GROUPS:
        low, high = (float(np.clip(v, 0, 1)) for v in t_interval(of_each)[1:])
        made = "samples" if len(set(groups[2])) == len(groups[2]) else "synthetic slides"
        interval = f"95 % over {len(of_each)} patients and {made} (Student's)"
    else:
        low = high = None
        interval = f"no interval, {many} patients"
    how = (
        "folds by patient and synthetic slide" if found.by_group else "folds by patch where there are too few patients"
    )
    about = {"name": "c2st", "encoder": name, "mpp": mpp, "value": found.accuracy, "low": low, "high": high}
    about |= row_of_references(found.accuracy, (real_reference, None, None), (other, None, None), ceilings)
    about |= {"n_real": len(real), "n_generated": len(generated), "better": "lower", "kind": "classifier"}
    return found, about | {
        "speaks": None,
        "interval": interval,
        "file": "",
        "note": f"share told rightly, both kinds weighing the same: 0.5 is chance; {how}",
    }


def _show(out: Path, picture: Path, found: C2st, sets: Sets, rows) -> None:
    train, held_out, generated = rows
    real = [("train", int(r)) for r in train] + [("held_out", int(r)) for r in held_out]
    generated_rows = [("generated", int(r)) for r in generated]
    by_name = {s.name: s for s in sets}
    order = np.argsort(found.second), np.argsort(found.first)
    chosen = {
        "generated, surely so": [(generated_rows[i], found.second[i]) for i in order[0][::-1][:SURE]],
        "generated, taken for real": [(generated_rows[i], found.second[i]) for i in order[0][:SURE]],
        "real, surely so": [(real[i], found.first[i]) for i in order[1][:SURE]],
        "real, taken for generated": [(real[i], found.first[i]) for i in order[1][::-1][:SURE]],
    }
    (out / picture).parent.mkdir(parents=True, exist_ok=True)
    images = [np.stack([by_name[name].images[row] for (name, row), _ in patches]) for patches in chosen.values()]
    save_grid(out / picture, images, list(chosen))
    said = [
        {"shown": title, "set": name, "row": row, "probability": float(p)}
        for title, patches in chosen.items()
        for (name, row), p in patches
    ]
    write_json((out / picture).with_suffix(".json"), said)
