"""Sentences on what went in: what was drawn and from what, what was held out, what was left out, how learning went."""

from __future__ import annotations

from collections.abc import Iterator

from histogenesis.core.geometry import mm_of
from histogenesis.report.blocks import Statement, count_text, number_text
from histogenesis.report.found import Run

SAME_MPP = 0.03  # relative: two resolutions that differ by less are one


def drawn(run: Run) -> Iterator[Statement]:
    slides = [one for one in run.synthetic if one.levels or one.tif]
    if not slides:
        yield Statement(
            "open", "No synthetic slide was drawn in this run.", None, "condition", "no synthetic slide", "undrawn"
        )
        return
    text = f"{count_text(len(slides), 'synthetic slide').capitalize()}"
    measured = [level for one in slides for level in one.coherence.get("levels", [])]
    if measured:
        fine, coarse = min(measured, key=lambda level: level["mpp"]), max(measured, key=lambda level: level["mpp"])
        height, width = fine["height_px"], fine["width_px"]
        text += (
            f", drawn through {count_text(len({level['level'] for level in measured}), 'level')}"
            f" ({coarse['mpp']:g} to {fine['mpp']:g} µm per pixel); the finest is {width:,} × {height:,} px,"
            f" that is {mm_of(width, fine['mpp']):.2g} × {mm_of(height, fine['mpp']):.2g} mm"
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


def held_out(run: Run) -> Iterator[Statement]:
    held, train = run.slides_in("validation", "test"), run.slides_in("train")
    leaked = {slide.patient for slide in held} & {slide.patient for slide in train}
    if not held:
        text = "Nothing was held out: no number here speaks of tissue that the model has not seen."
        yield Statement("bad", text, None, "held-out", "nothing was held out")
    elif run.by_region:
        n = len(held)
        where = "one slide" if n == 1 else "the same slides"
        text = (
            f"What is held out are regions of {where} that the model learnt from, so that nothing here speaks of other"
        )
        text += " patients."
        yield Statement("look", text, run.splits_file, "held-out", f"held out is part of {where}, no other patient")
    elif leaked:
        text = f"Leak: {count_text(len(leaked), 'patient')} both learnt from and held out ({', '.join(sorted(leaked)[:5])})."
        yield Statement("bad", text, run.splits_file, "held-out", "patients both learnt from and held out")
    else:
        patients = len({slide.patient for slide in held})
        text = (
            f"What is held out are whole patients: {count_text(patients, 'patient')}, {count_text(len(held), 'slide')}."
        )
        yield Statement("good", text, run.splits_file)


def _number(value) -> str:
    return number_text(value) if value is None or isinstance(value, int | float) else str(value)


def learning(run: Run) -> Iterator[Statement]:
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


def set_aside(run: Run) -> Iterator[Statement]:
    """Slides that could not be used, and resolutions that the recipe asks for and the slides did not give."""
    if not run.slides:
        return
    aside = sum(bool(slide.error) for slide in run.slides.values())
    if aside:
        clause = f"{aside} of {count_text(len(run.slides), 'slide')} set aside"
        text = f"{clause[0].upper()}{clause[1:]}: they could not be used; why, is below."
        yield Statement("look", text, run.folder / "slides", "material", clause)
    else:
        text = f"No slide was set aside ({count_text(len(run.slides), 'slide')} read)."
        yield Statement("fact", text, run.folder / "slides")


def skipped(run: Run) -> Iterator[Statement]:
    """Resolutions of a patch set without training or held-out patches, and how many slides have none there."""
    for name, section in (run.recipe.get("patches") or {}).items():
        counts = run.split_counts.get(name)
        if not counts or not isinstance(section, dict):
            continue
        files = [file.counts for file in run.patches[name].values() if not file.error]
        held = {mpp: n for split in ("validation", "test") for mpp, n in counts.get(split, {}).items()}
        for mpp in section.get("mpps") or []:
            learnt, kept = _near(counts.get("train", {}), mpp), _near(held, mpp)
            without = sum(not _near(file, mpp) for file in files)
            where = f"{mpp:g} mpp"
            if not learnt:
                text = f"Nothing was learnt at {where}: patch set {name} has no training patch there ({without} of"
                text += f" {count_text(len(files), 'slide')} gave none, as a rule for being scanned more coarsely)."
                yield Statement(
                    "bad", text, run.folder / "patches" / name, "material", f"nothing was learnt at {where}"
                )
            elif not kept and held:
                text = f"Nothing was held out at {where} (patch set {name}): no number speaks of it."
                yield Statement("look", text, run.folder / "patches" / name, "material", f"nothing held out at {where}")
            elif without:
                text = f"At {where}, {without} of {count_text(len(files), 'slide')} gave no patch (set {name})."
                yield Statement(
                    "look", text, run.folder / "patches" / name, "material", f"{without} slides skipped at {where}"
                )


def _near(counts: dict[float, int], mpp: float) -> int:
    return sum(n for other, n in counts.items() if abs(other - mpp) <= SAME_MPP * mpp)


def tissue(run: Run) -> Iterator[Statement]:
    warned = sum(bool(slide.warnings) and not slide.error for slide in run.slides.values())
    if warned:
        text = f"Tissue: {count_text(warned, 'slide')} with a warning; look at the overlays below."
        yield Statement("look", text, run.folder / "tissue")
