"""The numbers of metrics.json: how each stands against real tissue, its plot over the resolutions, the patches behind it."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from histogenesis.report.blocks import Cell, Figure, Figures, Section, Table, number_text
from histogenesis.report.found import Run
from histogenesis.report.pictures import file_url
from histogenesis.report.plots import plot_measure
from histogenesis.report.verdict.degrees import Degree, degree, kind_of

COLOURS = {"within": "good", "worse": "bad", "unknown": "open"}
OPEN_PLOTS = ("fid", "kid", "precision", "recall", "c2st", "nuclei_per_mm2")  # the others can be unfolded
LEAD = (
    "Each number stands on a scale of its own: the floor is the same number between two halves of real tissue, the best that"
    " can be had; the ceiling that of real tissue whose structure was taken away. within: like real tissue against itself;"
    " worse: beyond it; unknown: not measured, or too uncertain to say. A click on a number shows the patches behind it."
)


def numbers(run: Run) -> Section | None:
    """Words at a glance, plots, then every number; pooled over resolutions only beside those of each."""
    if not run.metrics:
        return None
    rows = [(row, degree(row)) for row in run.metrics]
    pictures = evidence(run)
    known = {figure.id for figure in pictures}
    blocks: list[Any] = [*_glance(rows, known), *_plots(run, [row for row, _ in rows]), *_every(run, rows, known)]
    blocks += _sides(run.metrics)
    if pictures:
        title = f"The patches behind the numbers ({len(pictures)} pictures)"
        blocks.append(Figures(pictures, "wide", pixelated=True, folded=title))
    return Section("metrics", "How close to real tissue?", blocks, LEAD)


def _glance(rows: list[tuple[dict, Degree]], known: set[str]) -> list[Table]:
    """Measures down, resolutions across, in each cell the word and the value."""
    mpps = sorted({row["mpp"] for row, _ in rows if _number(row, "mpp")}, reverse=True)
    lines: dict[tuple[str, str], dict[float, tuple[dict, Degree]]] = defaultdict(dict)
    for row, found in rows:
        if _number(row, "mpp") and kind_of(row) != "seams":  # which stand beside the other seams
            lines[str(row.get("name", "")), str(row.get("encoder") or "")][row["mpp"]] = row, found
    table = [
        [name, encoder, *(_word(*line[mpp], known) if mpp in line else Cell("–", sort="") for mpp in mpps)]
        for (name, encoder), line in lines.items()
    ]
    columns = ["measure", "seen by", *(f"{mpp:g} µm/px" for mpp in mpps)]
    caption = "At a glance: the number, and how it stands against real tissue."
    return [Table(columns, table, caption)] if table else []


def _word(row: dict, found: Degree, known: set[str]) -> Cell:
    if not _number(row, "value"):
        return Cell("not measured", sort="", status="open")
    return Cell(
        f"{number_text(row['value'])} {found.word}",
        sort=row["value"],
        patches=_behind(row, known),
        status=COLOURS[found.word],
    )


def _plots(run: Run, rows: list[dict]) -> list[Figures]:
    measures: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in rows:
        if _number(row, "mpp", "value") and kind_of(row) != "seams":
            measures[str(row.get("name", "")), str(row.get("encoder") or "")].append(row)
    shown: list[Figure] = []
    folded: list[Figure] = []
    for (name, encoder), found in measures.items():
        unit = next((f", {row['unit']}" for row in found if row.get("unit")), "")
        better = found[0].get("better", "lower")
        caption = f"{name}{unit}, {encoder}: {better} is better"
        figure = Figure(plot_measure(found, f"{name}{unit}: {encoder}"), caption)
        (shown if name in OPEN_PLOTS else folded).append(figure)
    if not shown:
        shown, folded = folded, []
    blocks = [Figures(shown, "plots")] if shown else []
    return [*blocks, *([Figures(folded, "plots", folded=f"{len(folded)} more plots")] if folded else [])]


def _every(run: Run, rows: list[tuple[dict, Degree]], known: set[str]) -> list[Table]:
    """Every number, and what is noted of them, by the notes' numbers: many rows share a long note."""
    said = {text: k for k, text in enumerate(dict.fromkeys(text for row, _ in rows for text in _notes(row)), start=1)}
    table = [
        [
            Cell(str(row.get("name", "")), _run_file(run, row.get("file"))),
            row.get("encoder") or "",
            Cell(f"{row['mpp']:g}" if _number(row, "mpp") else "all", number=True, sort=row.get("mpp") or ""),
            Cell(found.word, status=COLOURS[found.word]),
            Cell(_text(row.get("value")), number=True, sort=_sort(row.get("value")), patches=_behind(row, known)),
            _interval(row, ""),
            row.get("floor"),
            row.get("patients"),
            (row.get("ceilings") or {}).get("phase"),
            (row.get("ceilings") or {}).get("bicubic"),
            _percent(found.share),
            row.get("n_generated", row.get("n")),
            ", ".join(str(said[text]) for text in _notes(row)),
        ]
        for row, found in rows
    ]
    columns = ["measure", "seen by", "µm/px", "against real", "value", "95 % interval", "floor", "patients"]
    columns += ["structureless", "blurred", "% of the way", "n", "notes"]
    csv = run.metrics_file.with_suffix(".csv") if run.metrics_file else None
    caption = (
        "Every number. Patients: real training patients against real held-out ones. % of the way: from the floor (0) to"
        " tissue without structure (100)."
    )
    every = Table(columns, table, caption, csv if csv and csv.exists() else run.metrics_file, fold_over=0)
    notes = Table(["note", "what it says"], [[k, text] for text, k in said.items()], "The notes.", fold_over=0)
    return [every, notes] if said else [every]


def _sides(rows: list[dict]) -> list[Table]:
    """What was measured of tissue on both sides: means, and medians, which a few large things do not draw away."""
    names = ("generated", "real", "generated_median", "real_median")
    table = [
        [
            row["name"],
            row.get("unit") or "",
            Cell(f"{row['mpp']:g}", number=True, sort=row["mpp"]),
            *map(row.get, names),
        ]
        for row in rows
        if kind_of(row) == "morphology" and _number(row, "mpp", "generated", "real")
    ]
    columns = ["measure", "unit", "µm/px", "mean, generated", "mean, real", "median, generated", "median, real"]
    return [Table(columns, table, "What was measured of nuclei, tissue and stains.", fold_over=0)] if table else []


def _notes(row: dict) -> list[str]:
    """What is said of a number, in parts that other numbers share."""
    return list(
        dict.fromkeys(part for name in ("interval", "note") for part in str(row.get(name) or "").split("; ") if part)
    )


def evidence(run: Run) -> list[Figure]:
    """The pictures of patches: of each encoder and resolution, and those that a classifier was surest of."""
    found: dict[str, tuple[Path, str]] = {}
    for encoder, mpps in (run.evidence.get("encoders") or {}).items():
        for mpp, one in mpps.items():
            caption = (
                f"As {encoder} sees it, {mpp} µm/px: generated patches at even ranks from the nearest to the furthest"
            )
            caption += " from real ones, then the furthest of all; below each the nearest held-out real patch"
            if path := _run_file(run, one.get("picture")):
                found[_id(encoder, mpp)] = path, caption
    for row in run.metrics:
        path = _run_file(run, row.get("file"))
        if path and path.suffix == ".png" and _number(row, "mpp"):
            caption = f"{row.get('name')} at {row['mpp']:g} µm/px: the patches that {row.get('encoder')} was surest of"
            found.setdefault(_id(row.get("encoder"), f"{row['mpp']:g}"), (path, caption))
    figures = []
    for name, (path, caption) in found.items():
        try:
            figures.append(Figure(file_url(path, 1400), caption, path, id=name))
        except (OSError, ValueError) as error:
            run.problems.append(f"{path.relative_to(run.folder)} could not be shown: {error}")
    return figures


def _behind(row: dict, known: set[str]) -> str:
    name = _id(row.get("encoder"), f"{row['mpp']:g}") if _number(row, "mpp") else ""
    return name if name in known else ""


def _id(encoder: Any, mpp: str) -> str:
    return "patches-" + re.sub(r"[^a-z0-9]+", "-", f"{encoder}-{mpp}".lower())


def _text(value: Any) -> str:
    return number_text(value) if value is None or isinstance(value, int | float) else str(value)


def _sort(value: Any) -> Any:
    return "" if value is None else value


def _percent(share: float | None) -> Cell:
    return Cell("–" if share is None else f"{100 * share:.0f}", number=True, sort="" if share is None else share)


def _interval(row: dict, of: str) -> Cell:
    low, high = (row.get(f"{of}{end}") for end in ("low", "high"))
    known = isinstance(low, int | float) and isinstance(high, int | float)
    return Cell(f"{number_text(low)} to {number_text(high)}" if known else "–", sort=high - low if known else "")


def _number(row: dict, *names: str) -> bool:
    return all(isinstance(row.get(name), int | float) and not isinstance(row.get(name), bool) for name in names)


def _run_file(run: Run, name: Any) -> Path | None:
    """A file that metrics.json names, if it is one of this run."""
    if not isinstance(name, str) or not name:
        return None
    for root in (run.folder, run.folder / "evaluation"):
        path = root / name
        if path.is_file() and path.resolve().is_relative_to(run.folder.resolve()):
            return path
    return None
