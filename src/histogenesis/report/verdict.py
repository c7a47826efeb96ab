"""The verdict: plain sentences made from the measured numbers, what was not measured included."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

from histogenesis.report.blocks import Statement, count_text, number_text
from histogenesis.report.gather import Run
from histogenesis.report.studies import sample_statements

CLEAR_SEAM = 1.1  # a lower bound above this is a seam that one may see, however many levels were tested
CLOSE, FAR = 2, 16  # mean cross-scale error, grey steps of 255: hardly visible; another picture
SUMMARISED = ("fid", "kid")  # in the verdict; the others stand in the table
# Parts that metrics.json may hold: words in a metric's name, and what is not known without it.
PARTS = {
    (
        "fid",
        "kid",
        "frechet",
        "mmd",
        "precision",
    ): "how close the synthetic patches are to real ones (FID, KID, precision and recall)",
    ("memor", "authpct", "copies"): "whether the model copies its training patches (memorisation)",
    ("utility", "accuracy"): "whether they are of use to train a classifier",
    ("reader",): "what pathologists say (blinded reader study)",
}


def statements(run: Run) -> list[Statement]:
    """The sentences, in the order of what a reader needs first."""
    if run.samples and not run.synthetic:
        held_out = _held_out(run) if run.slides else []
        return [*sample_statements(run), *held_out, *_learning(run), *_set_aside(run), *_missing(run)]
    found = [
        *_memorisation(run),
        *sample_statements(run),
        *_drawn(run),
        *_held_out(run),
        *_metrics(run),
        *_tiles(run),
        *_scales(run),
    ]
    return [*found, *_learning(run), *_set_aside(run), *_tissue(run), *_missing(run)]


def _drawn(run: Run) -> Iterator[Statement]:
    slides = [one for one in run.synthetic if one.levels or one.tif]
    if not slides:
        yield Statement("open", "No synthetic slide was drawn in this run.")
        return
    text = f"{count_text(len(slides), 'synthetic slide').capitalize()}"
    measured = [level for one in slides for level in one.coherence.get("levels", [])]
    if measured:
        fine, coarse = min(measured, key=lambda level: level["mpp"]), max(measured, key=lambda level: level["mpp"])
        height, width = fine["height_px"], fine["width_px"]
        text += (
            f", drawn through {count_text(len({level['level'] for level in measured}), 'level')}"
            f" ({coarse['mpp']:g} to {fine['mpp']:g} µm per pixel); the finest is {width:,} × {height:,} px,"
            f" that is {width * fine['mpp'] / 1000:.2g} × {height * fine['mpp'] / 1000:.2g} mm"
        )
    models = [model for model in run.models if model.card]
    if models:
        text += ". Drawn by " + "; ".join(
            f"{model.name} ({_number(model.card.get('parameters'))} parameters,"
            f" {_number(model.card.get('steps'))} training steps)"
            for model in models
        )
    yield Statement("fact", text + ".", slides[0].tif or slides[0].levels[0])
    train = run.slides_in("train")
    if train:
        patients = len({slide.patient for slide in train})
        patches = {name: sum(splits.get("train", {}).values()) for name, splits in run.split_counts.items()}
        counts = " and ".join(f"{count_text(n, 'patch', 'patches')} (set {name})" for name, n in patches.items())
        text = f"Learnt from {counts or 'patches'} of {count_text(len(train), 'slide')} of {count_text(patients, 'patient')}."
        made_up = sum(slide.made_up for slide in train)
        if made_up:
            whose = "All" if made_up == len(train) else f"{made_up} of {len(train)}"
            text += f" {whose} of these slides are made up (phantoms): they show that the steps work, not real tissue."
        yield Statement("look" if made_up else "fact", text, run.splits_file)


def _held_out(run: Run) -> Iterator[Statement]:
    held, train = run.slides_in("validation", "test"), run.slides_in("train")
    leaked = {slide.patient for slide in held} & {slide.patient for slide in train}
    if not held:
        yield Statement("bad", "Nothing was held out: no number here speaks of tissue that the model has not seen.")
    elif run.by_region:
        n = len(held)
        where = "one slide" if n == 1 else "the same slides"
        text = (
            f"What is held out are regions of {where} that the model learnt from, so that nothing here speaks of other"
        )
        text += " patients."
        yield Statement("look", text, run.splits_file)
    elif leaked:
        text = f"Leak: {count_text(len(leaked), 'patient')} both learnt from and held out ({', '.join(sorted(leaked)[:5])})."
        yield Statement("bad", text, run.splits_file)
    else:
        patients = len({slide.patient for slide in held})
        text = (
            f"What is held out are whole patients: {count_text(patients, 'patient')}, {count_text(len(held), 'slide')}."
        )
        yield Statement("good", text, run.splits_file)


def _tiles(run: Run) -> Iterator[Statement]:
    scored = [
        (level["seams"], level, one)
        for one in run.synthetic
        for level in one.coherence.get("levels", [])
        if level.get("seams", {}).get("score") is not None
    ]
    if not scored:
        if any(one.coherence for one in run.synthetic):
            yield Statement("fact", "Tiles: no two tiles meet inside tissue, so there is no seam to look for.")
        else:
            yield Statement("open", "Not measured: whether tiles join without seams.")
        return
    n, above = len(scored), [entry for entry in scored if entry[0]["low"] > 1]
    worst = max(scored, key=lambda entry: entry[0]["low"])
    seams, level, one = worst
    value = f"{seams['score']:.2f} (95 % interval {seams['low']:.2f} to {seams['high']:.2f})"
    where = f"level {level['level']} of {one.name}"
    of = f"{len(above)} of {n} measured levels" if n > 1 else "the measured level"
    if seams["low"] > CLEAR_SEAM:
        text = f"Tiles: seams. On {of}, tile borders are steeper than other lines; at worst {value} times, {where}."
        yield Statement("bad", text, one.coherence_file)
    elif above and _chance(n, len(above), 0.025) < 0.05:
        text = f"Tiles: faint seams. On {of} tile borders are steeper (chance alone gives {0.025 * n:.1f}); at worst {value},"
        text += f" {where}."
        yield Statement("look", text, one.coherence_file)
    else:
        exceptions = f", {len(above)} of {n} slightly above, as chance alone may give" if above else ""
        text = (
            f"Tiles: no seam found{exceptions}. Tile borders are no steeper than other lines; the nearest to a seam is"
        )
        text += f" {where}, with a score of {value}."
        yield Statement("good", text, one.coherence_file)


def _chance(n: int, at_least: int, p: float) -> float:
    """Probability of at_least or more of n by chance."""
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(at_least, n + 1))


def _scales(run: Run) -> Iterator[Statement]:
    measured = [
        (level["cross_scale"]["tissue"], level, one)
        for one in run.synthetic
        for level in one.coherence.get("levels", [])
        if level.get("cross_scale") and level["cross_scale"]["tissue"]["mean"] is not None
    ]
    if not measured:
        if not any(one.coherence for one in run.synthetic):
            yield Statement("open", "Not measured: whether the levels show the same tissue.")
        return
    error, level, one = max(measured, key=lambda entry: entry[0]["mean"])
    largest = max(entry[0]["max"] for entry in measured)
    value = f"{number_text(error['mean'], 2)} of 255 grey steps on average"
    where = f"level {level['level']} of {one.name}; {number_text(largest, 2)} in the worst pixel of all"
    if largest <= 1:
        text = f"Scales: each level averages back to the one above it, to rounding (off by {value} at {where})."
        yield Statement("good", text, one.coherence_file)
    elif error["mean"] <= CLOSE:
        text = f"Scales: each level averages back closely to the one above it (at worst off by {value}, {where})."
        yield Statement("good", text, one.coherence_file)
    else:
        text = f"Scales: levels depart from the one above them, at worst by {value} ({where})."
        yield Statement("bad" if error["mean"] > FAR else "look", text, one.coherence_file)


def _metrics(run: Run) -> Iterator[Statement]:
    """The distances over all mpps together; the table has the rest."""
    for row in run.metrics:
        if not _is_memorisation(row) and row.get("mpp") is None and str(row.get("name", "")).lower() in SUMMARISED:
            yield Statement("fact", _metric_sentence(row), run.metrics_file)


def _memorisation(run: Run) -> Iterator[Statement]:
    audit = run.memorisation
    if audit:
        kind = {"copies": "bad", "suspect": "look", "clear": "good"}.get(audit.get("verdict"), "open")
        note = f" ({audit['note']})" if audit.get("note") else ""
        yield Statement(kind, f"Memorisation: {audit.get('sentence', 'no sentence')}{note}", run.memorisation_file)
    for row in run.metrics:
        if _is_memorisation(row):
            yield Statement("fact", _metric_sentence(row), run.metrics_file)


def _is_memorisation(row: dict) -> bool:
    return any(word in str(row.get("name", "")).lower() for word in ("memor", "authpct", "copies"))


def _metric_sentence(row: dict) -> str:
    name = str(row.get("name") or "metric")
    name = name.upper() if name in SUMMARISED else name[0].upper() + name[1:]
    text = f"{name}: {_number(row.get('value'))}"
    if row.get("low") is not None and row.get("high") is not None:
        text += f" (95 % interval {_number(row['low'])} to {_number(row['high'])})"
    if row.get("floor") is not None:
        text += f"; real against other real: {_number(row['floor'])}"
    return text + (f". Encoder: {row['encoder']}." if row.get("encoder") else ".")


def _number(value) -> str:
    return number_text(value) if value is None or isinstance(value, int | float) else str(value)


def _learning(run: Run) -> Iterator[Statement]:
    for model in run.models:
        seen = [line for line in model.losses if line.get("validation_loss") is not None]
        if not seen:
            continue
        last, best = seen[-1], min(seen, key=lambda line: line["validation_loss"])
        text = f"Learning of {model.name}: the loss on held-out patches ended at {number_text(last['validation_loss'])}"
        if len(seen) > 1:
            text += f" (from {number_text(seen[0]['validation_loss'])} at step {seen[0]['step']:,})"
        rose = last["validation_loss"] > 1.1 * best["validation_loss"]
        if rose:
            text += (
                f". It had been {number_text(best['validation_loss'])} at step {best['step']:,}: a sign of overfitting"
            )
        yield Statement("look" if rose else "fact", text + ".", model.folder / "train.jsonl")


def _set_aside(run: Run) -> Iterator[Statement]:
    if not run.slides:
        return
    aside = sum(bool(slide.error) for slide in run.slides.values())
    if aside:
        were = "was" if aside == 1 else "were"
        text = (
            f"{aside} of {count_text(len(run.slides), 'slide')} could not be used and {were} set aside; why, is below."
        )
        yield Statement("look", text, run.folder / "slides")
    else:
        text = f"No slide was set aside ({count_text(len(run.slides), 'slide')} read)."
        yield Statement("fact", text, run.folder / "slides")


def _tissue(run: Run) -> Iterator[Statement]:
    warned = sum(bool(slide.warnings) and not slide.error for slide in run.slides.values())
    if warned:
        text = f"Tissue: {count_text(warned, 'slide')} with a warning; look at the overlays below."
        yield Statement("look", text, run.folder / "tissue")


def _missing(run: Run) -> Iterator[Statement]:
    names = " ".join(str(row.get("name", "")).lower() for row in run.metrics)
    names += " memorisation" * bool(run.memorisation or run.samples)
    names += " ".join(str(row["name"]) for one in run.samples for row in one.metrics)
    names += " utility" * any(one.utility for one in run.samples)
    missing = [what for words, what in PARTS.items() if not any(word in names for word in words)]
    if missing:
        yield Statement("open", "Not measured in this run: " + "; ".join(missing) + ".")
    for problem in run.problems:
        yield Statement("bad", f"{problem}.")
