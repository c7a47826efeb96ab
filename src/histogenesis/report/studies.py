"""Sections about patches that models drew: the study's table, and how real, how copied and of what use each set of them is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from histogenesis.report.blocks import (
    Figure,
    Figures,
    Prose,
    Section,
    Statement,
    Table,
    count_text,
    number_text,
)
from histogenesis.report.found import Run
from histogenesis.report.pictures import file_url
from histogenesis.report.verdict.rules import COPYING

SHOWN = 12  # sets of samples whose pictures stand in the page
ALL = "all"
FIRST = ("fid", "kid", "ssim", "likelihood")  # and accuracies: the numbers that stand in the table of combinations
ORDER = ("copies", "suspect", "clear", "not measured")


def sample_statements(run: Run) -> Iterator[Statement]:
    """Sentences of the verdict: copies first, then what was held out, the winner, and what differs by more than chance."""
    if not run.samples:
        return
    audited = [one for one in run.samples if one.memorisation.get("verdict") in ORDER]
    if audited:
        worst = min(audited, key=lambda one: ORDER.index(one.memorisation["verdict"]))
        status = COPYING.get(worst.memorisation["verdict"], "open")
        which = f"of {count_text(len(audited), 'set')} of samples, the closest to its training patches ({worst.name})"
        yield Statement(status, f"Memorisation: {which}: {worst.memorisation.get('sentence')}", worst.memorisation_file)
    for name, rows in run.groups.items():
        held = {row["patient"] for row in rows if row["split"] != "train"}
        leaked = held & {row["patient"] for row in rows if row["split"] == "train"}
        text = (
            f"Of patch set {name}, whole groups are held out: {len(held):,} of {len({r['patient'] for r in rows}):,}."
        )
        if leaked:
            text = f"Leak: {count_text(len(leaked), 'group')} of patch set {name} both learnt from and held out."
        yield Statement("bad" if leaked else "good", text, run.folder / "patches" / name / "splits.tsv")
    if run.winner:
        judged = run.winner["judged_by"]
        text = f"Best by {judged['metric']} ({judged['encoder']}): {run.winner['combination']}"
        clear = run.winner.get("apart_from_all_others")
        text += {
            True: ", apart from every other combination by more than seeds differ.",
            False: ", but not apart from every other combination by more than seeds differ.",
        }.get(clear, ".")
        yield Statement("fact" if clear else "look", text, run.folder / "study/winner.json")
    compared = [
        row for row in run.study if not row["best"] and row["apart_from_best"] is not None and row["class"] == ALL
    ]
    if compared:
        apart = sum(row["apart_from_best"] for row in compared)
        text = f"Study: of {len(compared):,} differences to a best combination, {apart:,} are larger than seeds alone explain"
        text += f" (Welch, 95 %; chance gives about {0.05 * len(compared):.1f})."
        yield Statement("fact", text, run.folder / "study/table.csv")


def study(run: Run) -> Section | None:
    if not run.study:
        return None
    kinds = {(row["metric"], row["encoder"]) for row in run.study}
    chosen = [kind for first in FIRST for kind in sorted(kinds) if kind[0] == first]
    chosen += [kind for kind in sorted(kinds) if kind[0].startswith("accuracy")]
    blocks: list[Any] = []
    lines = dict.fromkeys((row["samples"], row["class"], row["combination"]) for row in run.study)
    found = {(r["samples"], r["class"], r["combination"], r["metric"], r["encoder"]): r for r in run.study}
    columns = ["samples", "class", "combination", *(f"{metric}, {encoder}" for metric, encoder in chosen)]
    rows = [
        [base, label, combination, *(_number(found.get((base, label, combination, *kind))) for kind in chosen)]
        for base, label, combination in lines
    ]
    one_seed = all(row["seeds"] == 1 for row in run.study)
    whose = "subsampling patches, of one seed" if one_seed else "over seeds (Student), of a single seed by subsampling"
    caption = (
        f"Every combination: the mean, and its 95 % interval {whose}. *: best. ≠: differs from the best by more than"
        " seeds explain (Welch, 95 %). All metrics, each seed and the floor: study/table.csv."
    )
    blocks.append(Table(columns, rows, caption, run.folder / "study/table.csv"))
    if run.arms:
        blocks.append(Prose(_besides(run.arms)))
    caption = "Points: seeds. Bars: 95 % interval. Dotted: real patches."
    if picture := _figure(run, run.folder / "study/study.png", caption, 1900):
        blocks.append(Figures([picture], "wide"))
    return Section("study", "Study", blocks)


def _besides(arms: list[dict]) -> str:
    """In one line, what arms differ in besides what their axis names; pairs with the same differences are said once."""
    groups: dict[tuple, list[list[str]]] = {}
    for arm in arms:
        if arm["besides"]:
            groups.setdefault((arm["axis"], arm["samples"], tuple(arm["besides"])), []).append(arm["options"])
    if not groups:
        return "Arms that differ in one axis differ in nothing besides what it names."
    parts = []
    for (axis, samples, keys), pairs in groups.items():
        more = f" (and {count_text(len(pairs) - 1, 'pair')} more)" if len(pairs) > 1 else ""
        parts.append(f"{axis} of {samples}, {' and '.join(pairs[0])}{more}: {', '.join(keys)}")
    return f"Arms differ besides in: {'; '.join(parts)}. All pairs: study/arms.json."


def _number(row: dict | None) -> str:
    if row is None:
        return "–"
    text = number_text(row["value"])
    if row["low"] is not None:
        text += f" ({number_text(row['low'])} to {number_text(row['high'])})"
    return text + (" *" if row["best"] else "") + (" ≠" if row["apart_from_best"] else "")


def samples(run: Run) -> Section | None:
    if not run.samples:
        return None
    blocks: list[Any] = [_table(run)]
    for one in run.samples[:SHOWN]:
        captions = ((one.shown, "at even ranks of their distance to real patches"), (one.utility, "their use"))
        figures = [_figure(run, file, f"{one.name}: {text}", 900) for file, text in captions if file]
        if figures := [figure for figure in figures if figure]:
            blocks.append(Figures(figures, "half"))
    if len(run.samples) > SHOWN:
        blocks.append(
            Prose(f"The first {SHOWN} of {len(run.samples)} sets are shown; the others lie in evaluation/samples/.")
        )
    return Section("samples", "Patches that were drawn", blocks)


def _table(run: Run) -> Table:
    rows = []
    for one in run.samples:
        for row in one.metrics:
            if row["name"] in (*FIRST, "c2st") and row["value"] is not None:
                interval = "–" if row["low"] is None else f"{number_text(row['low'])} to {number_text(row['high'])}"
                about = [one.name, row["class"], row["name"], row["encoder"], row["value"], interval, row["floor"]]
                rows.append([*about, one.memorisation.get("verdict", "–")])
    columns = ["samples", "class", "metric", "encoder", "value", "95 % interval", "floor", "copies"]
    caption = "Samples against held-out real patches; floor: real training patches against the same."
    return Table(columns, rows, caption, run.folder / "evaluation/samples")


def _figure(run: Run, file: Path, caption: str, long_side: int) -> Figure | None:
    try:
        return Figure(file_url(file, long_side), caption, file)
    except (OSError, ValueError) as error:
        run.problems.append(f"{file.relative_to(run.folder)} could not be shown: {error}")
        return None
