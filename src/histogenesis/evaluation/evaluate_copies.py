"""The memorisation audit of a run: whole patches in each encoder's space, pieces of patches pixel by pixel, and the pairs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from histogenesis.evaluation.sets import Sets, matched
from histogenesis.metrics.encoders import features as store
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.metrics.memorisation.audit import audit, audit_pieces
from histogenesis.metrics.memorisation.copies import Match, Windows, align
from histogenesis.recipe import Evaluation

ORDER = ("copies", "suspect", "clear", "too few")
PAIRS = 8
PIECES = "pixels"  # the name of the search for pieces, beside the encoders' names


def audit_encoder(encoder: Encoder, sets: Sets, features, options: Evaluation) -> dict:
    """The audit of whole patches by one encoder; the pairs give rows of `generated` and `train`."""
    rows, left_out = matched(sets, options.images)
    if not rows:
        return {"verdict": "too few", "sentence": "; ".join(left_out.values())}
    train = np.flatnonzero(np.isin(sets.train.mpp, list(rows)))
    held_out, generated = (np.concatenate([r[i] for r in rows.values()]) for i in (1, 2))
    turn = options.copy_views and not encoder.turned_alike
    parts = [
        store.encode_views(encoder, s.images[r], mpp=s.mpp[r]) if turn else f.features[r]
        for s, f, r in ((sets.held_out, features[1], held_out), (sets.generated, features[2], generated))
    ]
    found = audit(features[0].features[train], *parts, options.copy_percentile).as_dict()
    for pair in found["closest"]:
        pair["generated"], pair["train"] = int(generated[pair["generated"]]), int(train[pair["train"]])
    return found


def audit_pixels(sets: Sets, options: Evaluation) -> dict:
    """The audit of pieces: each generated and held-out patch against all training patches of its mpp, however few these are."""
    rows, left_out = matched(Sets(sets.held_out, sets.held_out, sets.generated), options.images)
    rows = {mpp: parts for mpp, parts in rows.items() if (sets.train.mpp == mpp).any()}
    if not rows:
        return {"verdict": "too few", "sentence": "; ".join(left_out.values()) or "no mpp has training patches"}
    held, made = [], []
    for mpp, (_, held_out, generated) in rows.items():
        train = np.flatnonzero(sets.train.mpp == mpp)
        windows = Windows(sets.train.images[train])
        held.append(_shown(windows.match(sets.held_out.images[held_out]), held_out, train))
        made.append(_shown(windows.match(sets.generated.images[generated]), generated, train))
    held, made = ({key: np.concatenate([part[key] for part in side]) for key in side[0]} for side in (held, made))
    counts = len(sets.train), sets.train.of or len(sets.train)
    found = audit_pieces(held["surprise"], made["surprise"], *counts, options.copy_percentile)
    closest = []
    for i in np.argsort(-made["surprise"], kind="stable")[:PAIRS]:
        pair = {"generated": int(made["patch"][i]), "train": int(made["train"][i]), "quarter": int(made["quarter"][i])}
        image, train = sets.generated.images[pair["generated"]], sets.train.images[pair["train"]]
        surprise, correlation = float(made["surprise"][i]), align(image, train, pair["quarter"])[1]
        closest.append(pair | {"surprise": surprise, "correlation": correlation})
    return found | {"closest": closest}


def _shown(match: Match, rows, train) -> dict[str, np.ndarray]:
    """The matches of patches that show something, with the rows of the sets."""
    some = ~match.plain
    found = {"patch": rows, "train": train[match.train], "quarter": match.quarter, "surprise": match.surprise}
    return {key: value[some] for key, value in found.items()}


def overall(audits: dict[str, dict]) -> dict:
    """The report's first line: the worst verdict of any audit, and whose."""
    worst = min(audits, key=lambda name: ORDER.index(audits[name]["verdict"]))
    return {"verdict": audits[worst]["verdict"], "encoder": worst, "sentence": audits[worst]["sentence"]}


def draw_pairs(path: Path, sets: Sets, audits: dict[str, dict]) -> None:
    """The closest pairs: by their pieces, the training patch laid under the generated one; and by the worst encoder."""
    from histogenesis.report.training_pictures import save_grid

    size = sets.train.images.shape[1] if len(sets.train) else 32
    rows, labels = [], []
    pairs = audits.get(PIECES, {}).get("closest", [])
    if pairs:
        made = sets.generated.images[[p["generated"] for p in pairs]]
        laid = [align(m, sets.train.images[p["train"]], p["quarter"])[0] for m, p in zip(made, pairs)]
        rows, labels = [made, np.stack(laid)], ["generated", "train, laid"]
    whole = {name: found for name, found in audits.items() if name != PIECES and found.get("closest")}
    if whole:
        name = overall(whole)["encoder"]
        pairs = whole[name]["closest"]
        rows += [sets.generated.images[[p["generated"] for p in pairs]], sets.train.images[[p["train"] for p in pairs]]]
        labels += ["generated", "train, whole"]
    unfinished = path.with_name("unfinished." + path.name)
    blank = np.full((1, size, size, 3), 255, np.uint8)
    save_grid(unfinished, rows or [blank, blank], labels or ["generated", "training"])
    os.replace(unfinished, path)
