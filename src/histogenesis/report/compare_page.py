"""comparison.html: the runs side by side, one page that opens alone. Beside it the same numbers as CSV and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.core.files import write_text, written
from histogenesis.report.blocks import Cell, Figure, Figures, Section, Statement, Table, Verdict, number_text
from histogenesis.report.compare import Arm, compare_runs, differences, upper_bound, write_csv, write_json
from histogenesis.report.page.render import render
from histogenesis.report.pictures import data_url
from histogenesis.report.scale_grid import scale_grid
from histogenesis.report.verdict.rules import COPYING

SHOWN = ("fid", "kid")  # at each resolution; the others can be unfolded
WORST = {"seam_score": "seams", "cross_scale_error": "scales"}
COST = {
    "evaluations_per_megapixel": "evaluations / Mpx",
    "evaluations_per_pixel": "of each px",
    "seconds_per_megapixel": "drawing s / Mpx",
    "training_seconds": "training s",
}


def write_comparison(folders: list[str | Path], out: str | Path) -> list[Section]:
    """Write comparison.csv, .json, .html and scales.png (the picture grid) to the folder `out`; returns the sections."""
    out = Path(out)
    arms = compare_runs(folders)
    out.mkdir(parents=True, exist_ok=True)
    grid, why = _grid(arms)
    if grid:
        with written(out / "scales.png") as part:
            grid.save(part)
    write_csv(out / "comparison.csv", arms)
    write_json(out / "comparison.json", arms)
    sections = [_verdict(arms, why, out), _overview(arms), _pictures(grid, out), *_realism(arms), *_by_level(arms)]
    sections = [section for section in sections if section]
    write_text(out / "comparison.html", render(sections, "Comparison of runs", out))
    return sections


def _grid(arms: list[Arm]) -> tuple[Image.Image | None, str]:
    """The picture grid of the first synthetic slide that all runs have, or why there is none."""
    names = [{one.name for one in arm.run.synthetic if one.levels and one.plan} for arm in arms]
    common = sorted(set.intersection(*names))
    if not common:
        return None, "No picture grid: the runs have no synthetic slide of the same name."
    methods = {
        f"{arm.name}: {arm.method}" if arm.method else arm.name: arm.run.folder / "synthetic" / common[0]
        for arm in arms
    }
    first = arms[0]
    known = first.recipe.compared_patches if first.recipe else None
    patches = first.run.folder / "patches" / known if known else None
    try:
        return scale_grid(methods, patches, first.run.splits_file), ""
    except (BadInput, OSError) as error:
        return None, f"No picture grid: {error}."


def _verdict(arms: list[Arm], why: str, out: Path) -> Section:
    found = [Statement("look", f"{sentence} Read such numbers with care.") for sentence in differences(arms)]
    if not found:
        found.append(
            Statement(
                "good",
                "What runs have of real patches, held-out part, encoder and level 0 is the same: only the method differs.",
            )
        )
    for arm in arms:
        file = arm.run.folder / "evaluation" / "memorisation.json"
        verdict, sentence = arm.memorisation.get("verdict"), arm.memorisation.get("sentence", "")
        if verdict:
            text = f"{arm.name}, copies of training tissue: {verdict}. {sentence}"
            found.append(Statement(COPYING.get(verdict, "open"), text, file))
        else:
            found.append(Statement("open", f"{arm.name}: copies of training tissue were not looked for."))
    found += [Statement("bad", f"{arm.name}: {problem}.") for arm in arms for problem in arm.run.problems]
    if why:
        found.append(Statement("open", why))
    found.append(Statement("fact", "All numbers, one a line:", out / "comparison.csv"))
    return Section("verdict", "Verdict", [Verdict(found)])


def _overview(arms: list[Arm]) -> Section:
    """One line a run: what it is, and what it comes to."""
    lines = []
    for arm in arms:
        worst = [max((n["value"] for n in arm.numbers if n["name"] == name), default=None) for name in WORST]
        spent = [next((n["value"] for n in arm.numbers if n["name"] == name), None) for name in COST]
        report = arm.run.folder / "report.html"
        name = Cell(arm.name, report if report.exists() else None)
        lines.append([name, arm.method, arm.memorisation.get("verdict") or "–", *map(_number, worst + spent)])
    caption = (
        "Seams and scales: seam score (1: none) and cross-scale error (grey steps) of the worst level. Evaluations: tiles at"
        " one noise level that a network saw, for each megapixel of the finest level, all levels counted in; and how often it"
        " saw each of its pixels. Seconds are wall time where the run was made. A model that was taken has no training here."
    )
    columns = ["run", "finer levels", "copies", *WORST.values(), *COST.values()]
    return Section("runs", "The runs", [Table(columns, lines, caption)])


def _pictures(grid: Image.Image | None, out: Path) -> Section | None:
    if not grid:
        return None
    caption = "Rows: runs. Columns: the resolutions that all of them have."
    lead = (
        "Each column shows the same number of pixels about the same place: it enlarges the centre of the column before, as"
        " figure 9 of Harb et al. 2024. Pixels are shown as they are."
    )
    figure = Figure(data_url(grid), caption, out / "scales.png")
    return Section("scales", "The same place at every level", [Figures([figure], "wide")], lead)


def _realism(arms: list[Arm]) -> list[Section]:
    """One table an encoder for all mpps together, and one a metric for each mpp. Real tissue is the first row."""
    rows = [row for row in [*upper_bound(arms), *(n for arm in arms for n in arm.numbers)] if row["group"] == "realism"]
    rows = [row for row in rows if row.get("value") is not None]
    if not rows:
        return []
    blocks = []
    for encoder in _ordered(rows, "encoder"):
        of = [row for row in rows if row.get("encoder") == encoder]
        for better, words in (("lower", "the lower the better"), ("higher", "the higher the better")):
            whole = [row for row in of if row.get("mpp") is None and row.get("better") == better]
            if whole:
                names = _ordered(whole, "name")
                caption = f"Encoder {encoder}, all resolutions together: {words}. In brackets: 95 % interval."
                blocks.append(_table(arms, whole, "name", names, [_title(whole, name) for name in names], caption))
        for name in _ordered([row for row in of if row.get("mpp") is not None], "name"):
            each = [row for row in of if row["name"] == name and row.get("mpp") is not None]
            mpps = sorted({row["mpp"] for row in each}, reverse=True)
            caption = f"{_title(each, name)}, encoder {encoder}, at each resolution."
            fold = 40 if name in SHOWN else 0
            blocks.append(_table(arms, each, "mpp", mpps, [f"{mpp:g} µm/px" for mpp in mpps], caption, fold))
    lead = (
        "Generated patches against held-out real ones. The first row is real training tissue against the same held-out"
        " tissue: the best that can be had."
    )
    return [Section("realism", "Distance from real tissue", blocks, lead)]


def _by_level(arms: list[Arm]) -> list[Section]:
    captions = {
        "seam_score": "Seams: how much steeper the picture is across tile borders than across other lines (1: not at all)."
        " Of several slides the largest.",
        "cross_scale_error": "Scales: mean difference between a level averaged and the level above, grey steps of 255, inside"
        " tissue. Of several slides the largest.",
    }
    blocks = []
    for name, caption in captions.items():
        worst: dict[tuple, dict] = {}
        for row in (row for arm in arms for row in arm.numbers if row["name"] == name):
            key = (row["run"], row["mpp"])
            if key not in worst or row["value"] > worst[key]["value"]:
                worst[key] = row
        if worst:
            mpps = sorted({mpp for _, mpp in worst}, reverse=True)
            blocks.append(_table(arms, list(worst.values()), "mpp", mpps, [f"{mpp:g} µm/px" for mpp in mpps], caption))
    return [Section("coherence", "Do tiles and scales agree?", blocks)] if blocks else []


def _table(
    arms: list[Arm], rows: list[dict], by: str, keys: list, titles: list[str], caption: str, fold: int = 40
) -> Table:
    """Runs down, `keys` (values of rows[by]) across."""
    at = {(row["run"], row.get(by)): row for row in rows}
    folders = {arm.name: arm.run.folder / "report.html" for arm in arms}
    lines = []
    for run in _ordered(rows, "run"):
        file = folders.get(run)
        name = Cell(run, file if file and file.exists() else None)
        lines.append([name, *(_cell(at.get((run, key))) for key in keys)])
    return Table(["run", *titles], lines, caption, fold_over=fold)


def _number(value: float | None) -> Cell:
    return Cell(number_text(value), number=True)


def _cell(row: dict[str, Any] | None) -> Cell:
    if row is None or row.get("value") is None:
        return _number(None)
    ends = [row.get("low"), row.get("high")]
    between = f" ({number_text(ends[0])} to {number_text(ends[1])})" if None not in ends else ""
    return Cell(number_text(row["value"]) + between, number=True)


def _title(rows: list[dict], name: str) -> str:
    better = next((row.get("better") for row in rows if row["name"] == name), None)
    return name.replace("_", " ") + {"lower": " ↓", "higher": " ↑"}.get(better, "")


def _ordered(rows: list[dict], key: str) -> list:
    """Distinct values of a key, in the order in which they come."""
    return list(dict.fromkeys(row.get(key) for row in rows))
