"""Sections about people: what readers of a reader study could tell, with intervals, agreement, and what could not be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from histogenesis.report.blocks import Figure, Figures, Prose, Section, Statement, Table, count_text, number_text
from histogenesis.report.found import Run
from histogenesis.report.pictures import file_url

ORIGIN = ("slides", "pairs", "pick-generated", "origin")  # parts that ask what is real, not which class it is


def reader_statements(run: Run) -> Iterator[Statement]:
    """One sentence for each reader study that somebody has answered: whether readers tell real from synthetic."""
    for name, found in run.reading.items():
        parts = [part for part in found["parts"] if part["part"] in ORIGIN and part["pooled"]["n"]]
        for part in parts:
            pooled = part["pooled"]
            low, high = _ends(pooled)
            told = (
                "cannot be told" if low is None else "tell them apart" if low > pooled["chance"] else "may be guessing"
            )
            told = (
                "take synthetic for real more often than not" if high is not None and high < pooled["chance"] else told
            )
            text = f"Readers ({name}, {part['title'].lower()}): {count_text(found['readers'], 'reader')} right in"
            text += f" {pooled['k']} of {pooled['n']} answers{_interval(low, high)}: they {told}."
            if low is None:
                text = text.replace("they cannot be told", "how far that is chance is not known")
            file = run.folder / "reading" / name / "analysis/analysis.json"
            yield Statement("fact" if low is not None else "open", text, file)


def readers(run: Run) -> Section | None:
    if not run.reading:
        return None
    blocks: list[Any] = []
    for name, found in run.reading.items():
        folder = run.folder / "reading" / name / "analysis"
        blocks.append(_table(name, found, folder))
        if rated := [row for part in found["parts"] for row in part.get("ratings", []) if part["kind"] == "rate"]:
            rows = [
                [r["class"], r["scale"], r["n"], r["mean"], _interval(r["low"], r["high"]).strip(" ()")] for r in rated
            ]
            columns = ["class", "scale", "marks", "mean", "95 % interval"]
            blocks.append(
                Table(columns, rows, f"{name}: ratings from 1, unrealistic, to 5, like real.", folder / "answers.csv")
            )
        try:
            picture = Figure(file_url(folder / "analysis.png", 1400), f"{name}: each reader", folder / "analysis.png")
            blocks.append(Figures([picture], "wide"))
        except (OSError, ValueError) as error:
            run.problems.append(f"{folder.relative_to(run.folder)}/analysis.png could not be shown: {error}")
        for line in [*found.get("notes", []), *found.get("problems", [])]:
            blocks.append(Prose(f"{name}: {line}."))
    lead = "People were shown real and synthetic pictures that were made equal in all but the tissue, in random order."
    return Section("readers", "What readers say", blocks, lead)


def _table(name: str, found: dict[str, Any], folder) -> Table:
    rows = []
    for part in found["parts"]:
        if part["kind"] == "rate" or not part["pooled"]["n"]:
            continue
        pooled, auc, agree = part["pooled"], part.get("auc") or {}, part["agreement"]
        strata = part["by_stratum"] if len(part["by_stratum"]) > 1 else []
        value = f"{number_text(pooled['value'])}{_interval(*_ends(pooled))}"
        area = (
            f"{number_text(auc['value'])}{_interval(auc['low'], auc['high'])}" if auc.get("value") is not None else None
        )
        scores = [part["weighted_mae"], area, agree["fleiss_kappa"], agree["gwet_ac1"]]
        rows.append([part["title"], "all", pooled["n"], value, pooled["p"], *scores])
        for one in strata:
            ends = one["by_reader"] if one["by_reader"][0] is not None else (one["low"], one["high"])
            value = f"{number_text(one['value'])}{_interval(*ends)}"
            rows.append([part["title"], one["stratum"], one["n"], value, one["p"], None, None, None, None])
    columns = [
        "part",
        "of",
        "answers",
        "right",
        "p, exact, against guessing",
        "W-MAE",
        "AUC",
        "Fleiss' kappa",
        "Gwet's AC1",
    ]
    who = count_text(found["readers"], "reader")
    caption = f"{name}: {who}. Intervals of 95 % over readers and cases. Each reader: readers.csv."
    return Table(columns, rows, caption, folder / "readers.csv")


def _ends(pooled: dict[str, Any]) -> tuple[float | None, float | None]:
    """Over readers and cases; of one reader over cases; of one case nothing."""
    return tuple(pooled["by_both"] if pooled["by_both"][0] is not None else pooled["by_case"])


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({number_text(low)} to {number_text(high)})"
