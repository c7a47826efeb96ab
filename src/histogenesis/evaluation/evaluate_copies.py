"""The memorisation audit of a run: whole patches in each encoder's space, pieces of patches pixel by pixel, and the pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.files import written
from histogenesis.evaluation.cells import EXPECTED
from histogenesis.evaluation.sets import Sets, matched
from histogenesis.evaluation.training_patches import InMemory, Training
from histogenesis.evaluation.units import origins
from histogenesis.metrics.encoders import features as store
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.metrics.memorisation.audit import audit, audit_pieces
from histogenesis.metrics.memorisation.copies import Match, Search, align
from histogenesis.recipe import Evaluation

NOT_MEASURED = "not measured"
ORDER = ("copies", "suspect", "clear", NOT_MEASURED)
PAIRS = 8
SAMPLE = 2000  # training patches that the search's components are taken of
LEFT_OUT = 500  # training patches that are compared with the others, in eight views
PLANTED = 48  # copies at each mpp, for the power
PIECES = "pixels"  # the name of the search for pieces, beside the encoders' names


def guarded(call, *arguments) -> dict:
    """An audit, or why there is none: the rest of the evaluation is not lost with it."""
    try:
        return call(*arguments)
    except EXPECTED as error:
        return not_measured(str(error) or type(error).__name__)


def not_measured(why: str) -> dict:
    return {"verdict": NOT_MEASURED, "sentence": f"Not measured: {why}"}


def audit_encoder(encoder: Encoder, sets: Sets, features, options: Evaluation) -> dict:
    """The audit of whole patches by one encoder; the pairs give rows of `generated` and `train`."""
    rows, left_out = matched(sets, options.images)
    if not rows:
        return not_measured("; ".join(left_out.values()))
    train = np.flatnonzero(np.isin(sets.train.mpp, list(rows)))
    held_out, generated = (np.concatenate([r[i] for r in rows.values()]) for i in (1, 2))
    turn = options.copy_views and not encoder.turned_alike
    of_held_out, of_generated = (
        store.encode_views(encoder, s.images[r], mpp=s.mpp[r]) if turn else f.features[r]
        for s, f, r in ((sets.held_out, features[1], held_out), (sets.generated, features[2], generated))
    )
    some_train = None
    if turn:
        some = np.linspace(0, len(train) - 1, min(len(train), LEFT_OUT)).round().astype(int)
        images, mpp = sets.train.images[train[some]], sets.train.mpp[train[some]]
        some_train = some, store.encode_views(encoder, images, mpp=mpp)
    found = audit(
        features[0].features[train],
        of_held_out,
        of_generated,
        options.copy_percentile,
        train_origin=origins(sets.train)[train],
        left_out=some_train,
    ).as_dict()
    if found["verdict"] == "clear" and sets.train.of > len(sets.train):
        part = f"{len(train):,} of {sets.train.of:,} training patches"
        found |= not_measured(f"this encoder saw {part}, and none of the generated patches is too close to one")
    for pair in found["closest"]:
        pair["generated"], pair["train"] = int(generated[pair["generated"]]), int(train[pair["train"]])
    return found


def audit_pixels(sets: Sets, options: Evaluation, training: Training | None = None, seed: int = 1) -> dict:
    """The audit of pieces: each generated and held-out patch against *all* training patches of its mpp, with copies planted
    beside them that say what would have been found."""
    rows, left_out = matched(Sets(sets.held_out, sets.held_out, sets.generated), options.images)
    training = training or InMemory(sets.train)
    rows = {mpp: parts for mpp, parts in rows.items() if np.isclose(training.mpp, mpp).any()}
    if not rows:
        return not_measured("; ".join(left_out.values()) or "no mpp has training patches")
    found, rng, searched = [], np.random.default_rng([seed, 7]), 0
    for mpp, (_, held_out, generated) in rows.items():
        train = np.flatnonzero(np.isclose(training.mpp, mpp))
        searched += len(train)
        some = np.sort(rng.choice(train, min(SAMPLE, len(train)), replace=False))
        search = Search(training.read(some), seed)
        own = sets.generated.images[generated]
        queries = [search.queries(sets.held_out.images[held_out]), search.queries(own)]
        copies = plant(training.read(rng.choice(train, PLANTED)), own[rng.integers(len(own), size=PLANTED)], rng)
        queries.append(search.queries(copies, like=queries[1]))

        def read(rows: np.ndarray, train: np.ndarray = train) -> np.ndarray:
            return training.read(train[rows])

        matches = search.match(read, len(train), queries)
        sides = zip(matches, (held_out, generated, np.arange(PLANTED)))
        found.append([_with_texture(match, side, train) for match, side in sides])
    of_held_out, of_generated, of_planted = (
        {k: np.concatenate([part[k] for part in side]) for k in side[0]} for side in zip(*found)
    )
    of = searched + max(
        0, sets.train.of - len(training.mpp)
    )  # patches of mpps that nothing is compared at are not missed
    audit = audit_pieces(
        of_held_out["surprise"],
        of_generated["surprise"],
        searched,
        of,
        options.copy_percentile,
        planted=of_planted["surprise"],
    )
    closest = []
    for i in np.argsort(-of_generated["surprise"], kind="stable")[:PAIRS]:
        pair = {
            "generated": int(of_generated["patch"][i]),
            "train": int(of_generated["train"][i]),
            "quarter": int(of_generated["quarter"][i]),
        }
        image, train = sets.generated.images[pair["generated"]], training.read([pair["train"]])[0]
        surprise, correlation = float(of_generated["surprise"][i]), align(image, train, pair["quarter"])[1]
        closest.append(
            pair
            | {"surprise": surprise, "correlation": round(correlation, 6), "scale": float(of_generated["scale"][i])}
        )
    return audit | {"closest": closest}


def plant(train: np.ndarray, generated: np.ndarray, rng) -> np.ndarray:
    """Copies: each generated patch shows a training patch, turned or mirrored and shifted by up to half its side, with a little
    noise; what the shift leaves free is the generated patch's own."""
    side, out = train.shape[1], generated.copy()
    for image, copy in zip(train, out):
        turned = np.rot90(image, rng.integers(4))[:, :: rng.choice((-1, 1))]
        dy, dx = rng.integers(-(side // 2), side // 2 + 1, 2)
        to, of = ([slice(max(0, s * d), side + min(0, s * d)) for d in (dy, dx)] for s in (1, -1))
        copy[*to] = (turned[*of] + rng.normal(0, 3, turned[*of].shape)).clip(0, 255)
    return out


def _with_texture(match: Match, rows, train) -> dict[str, np.ndarray]:
    """The matches of patches that show something, with the rows of the sets."""
    some = ~match.plain
    found = {"patch": rows, "train": train[match.train], "quarter": match.quarter, "surprise": match.surprise}
    return {key: value[some] for key, value in (found | {"scale": match.scale}).items()}


def overall(audits: dict[str, dict]) -> dict:
    """The report's first line. Any audit's alarm counts; "clear" is only what the search of all training patches says, since
    an encoder is shown a sample of them and sees whole patches alone."""
    alarms = [name for name in audits if audits[name]["verdict"] in ("copies", "suspect")]
    names = alarms or ([PIECES] if PIECES in audits else list(audits))
    worst = min(names, key=lambda name: ORDER.index(audits[name]["verdict"]))
    found = {key: audits.get(PIECES, {}).get(key) for key in ("searched", "of", "power")}
    return {"verdict": audits[worst]["verdict"], "encoder": worst, "sentence": audits[worst]["sentence"], **found}


def render_pairs(path: Path, sets: Sets, audits: dict[str, dict], training: Training | None = None) -> None:
    """The closest pairs: by their pieces, the training patch laid under the generated one; and by the worst encoder."""
    from histogenesis.report.training_pictures import save_grid

    training = training or InMemory(sets.train)
    size = sets.train.images.shape[1] if len(sets.train) else 32
    rows, labels = [], []
    pairs = audits.get(PIECES, {}).get("closest", [])
    if pairs:
        generated = sets.generated.images[[p["generated"] for p in pairs]]
        laid = [align(m, training.read([p["train"]])[0], p["quarter"])[0] for m, p in zip(generated, pairs)]
        rows, labels = [generated, np.stack(laid)], ["generated", "train, laid"]
    whole = {name: found for name, found in audits.items() if name != PIECES and found.get("closest")}
    if whole:
        name = overall(whole)["encoder"]
        pairs = whole[name]["closest"]
        rows += [sets.generated.images[[p["generated"] for p in pairs]], sets.train.images[[p["train"] for p in pairs]]]
        labels += ["generated", "train, whole"]
    blank = np.full((1, size, size, 3), 255, np.uint8)
    with written(path) as part:
        save_grid(part, rows or [blank, blank], labels or ["generated", "training"])
