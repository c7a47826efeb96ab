"""The whole account of the generated patches: every metric with its interval and its floor, and the memorisation audit.

Generated patches are compared with held-out real ones. Beside each number stands the floor: real training patches against
the same held-out ones, with as many patches at the same mpps, so that a reader sees how far from zero "real" is.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from histogenesis.config import Evaluation
from histogenesis.errors import BadInput
from histogenesis.metrics import features as store
from histogenesis.metrics.encoders import Encoder
from histogenesis.metrics.features import ImageSet
from histogenesis.metrics.frechet import fid, fid_infinity, fid_warning
from histogenesis.metrics.intervals import FEWEST_GROUPS, subsample_interval
from histogenesis.metrics.kernel import cmmd, kid, mmd2, polynomial
from histogenesis.metrics.manifold import NAMES as MANIFOLD
from histogenesis.metrics.manifold import manifold
from histogenesis.metrics.memorisation import audit
from histogenesis.metrics.ssim import paired_scores

FEWEST = 20  # patches of each kind, below which no number is given
SHARE = 4  # patches of each kind that an mpp must have to count in the numbers of all mpps together
BOUNDS = {"fid": (0, np.inf), "precision": (0, 1), "recall": (0, 1), "density": (0, np.inf), "coverage": (0, 1)}
DISTANCES = ("fid", "fid_infinity", "kid", "cmmd")
INTERVAL_MOST = 1000


@dataclass(frozen=True)
class Sets:
    """train and held_out real patches, generated ones; `note` on how the real ones were split, for every table."""

    train: ImageSet
    held_out: ImageSet
    generated: ImageSet
    note: str = ""

    def __iter__(self):
        return iter((self.train, self.held_out, self.generated))


def matched(sets: Sets, images: int) -> tuple[dict[float, list[np.ndarray]], dict[float, str]]:
    """Rows of the three sets at each mpp, equally many of each and spread evenly; and why mpps have too few for numbers of
    their own. Those with a few patches still count in the numbers of all mpps together; without enough of these, no rows."""
    rows, left_out = {}, {}
    for mpp in sorted({float(v) for s in sets for v in s.mpp}, reverse=True):
        found = [np.flatnonzero(s.mpp == mpp) for s in sets]
        n = min(images, *(len(f) for f in found))
        if n < FEWEST:
            counts = ", ".join(f"{len(f)} {s.name.replace('_', '-')}" for f, s in zip(found, sets))
            left_out[mpp] = f"too few patches at {mpp:g} mpp ({counts}; at least {FEWEST} of each are needed)"
        if n >= SHARE:
            rows[mpp] = [f[np.linspace(0, len(f) - 1, n).round().astype(int)] for f in found]
    if sum(len(parts[0]) for parts in rows.values()) < FEWEST:
        rows = {}
    return rows, left_out


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


def memorisation(encoder: Encoder, sets: Sets, features, options: Evaluation) -> dict:
    """The audit of one encoder, as a dict with the rows of the pairs in `generated` and `train`."""
    rows, left_out = matched(sets, options.images)
    if not rows:
        return {"verdict": "too few", "sentence": "; ".join(left_out.values())}
    train = np.flatnonzero(np.isin(sets.train.mpp, list(rows)))
    held_out, generated = (np.concatenate([r[i] for r in rows.values()]) for i in (1, 2))
    turn = options.copy_views and not encoder.turned_alike
    parts = [
        store.encode_views(encoder, s.images[r]) if turn else f.features[r]
        for s, f, r in ((sets.held_out, features[1], held_out), (sets.generated, features[2], generated))
    ]
    found = audit(features[0].features[train], *parts, options.copy_percentile).as_dict()
    for pair in found["closest"]:
        pair["generated"], pair["train"] = int(generated[pair["generated"]]), int(train[pair["train"]])
    return found


def overall(audits: dict[str, dict]) -> dict:
    """The report's first line: the worst verdict of any encoder, and whose."""
    order = ["copies", "suspect", "clear", "too few"]
    worst = min(audits, key=lambda name: order.index(audits[name]["verdict"]))
    return {"verdict": audits[worst]["verdict"], "encoder": worst, "sentence": audits[worst]["sentence"]}


def evaluate(sets: Sets, encoders: list[Encoder], options: Evaluation, out: str | Path, seed: int = 1) -> dict:
    """Measure everything; write metrics.json, memorisation.json, closest_pairs.png and features/ under `out`.

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
        audits[encoder.name] = memorisation(encoder, sets, features, options)
    entries += pixel_metrics(sets, options, seed) if all(len(s) for s in sets) else []
    found = {**overall(audits), "note": sets.note, "encoders": audits}
    _write_json(out / "memorisation.json", found)
    _draw_pairs(out / "closest_pairs.png", sets, audits.get(found["encoder"], {}))
    write_metrics(out, entries)
    return {"metrics": entries, "memorisation": found}


def write_metrics(out: Path, entries: list[dict]) -> None:
    """metrics.json: NaN (an interval of one split) becomes null."""
    clean = [{k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in e.items()} for e in entries]
    _write_json(Path(out) / "metrics.json", clean)


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


def _write_json(path: Path, value) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    os.replace(unfinished, path)


def _draw_pairs(path: Path, sets: Sets, found: dict) -> None:
    """The closest pairs: generated above, the training patch below."""
    from histogenesis.pictures import save_grid

    pairs = found.get("closest", [])
    size = sets.train.images.shape[1] if len(sets.train) else 32
    blank = np.full((1, size, size, 3), 255, np.uint8)
    top = sets.generated.images[[p["generated"] for p in pairs]] if pairs else blank
    bottom = sets.train.images[[p["train"] for p in pairs]] if pairs else blank
    unfinished = path.with_name("unfinished." + path.name)
    save_grid(unfinished, [top, bottom], ["generated", "training"])
    os.replace(unfinished, path)
