"""Sections about what went in and how it was made: patches, tissue, slides set aside, times, recipe, versions."""

from __future__ import annotations

from collections import defaultdict

from histogenesis.core.software import versions
from histogenesis.patches.splits import place_of
from histogenesis.report.blocks import Block, Cell, Code, Figures, Prose, Section, Table, count_text, duration_text
from histogenesis.report.found import Run, Slide
from histogenesis.report.results import figure

SHOWN_OVERLAYS = 12
SHOWN_PLACES = 6


def set_aside(run: Run) -> Section | None:
    rows = [[Cell(one.name, one.record_file), one.error] for one in run.slides.values() if one.error]
    for files in run.patches.values():
        for name, file in files.items():
            if file.error and not (name in run.slides and run.slides[name].error):
                rows.append([Cell(name, file.file), file.error])
    if not rows:
        return None
    lead = "These could not be used. The rest of the run went on without them."
    return Section("set-aside", "Slides set aside", [Table(["slide", "why"], rows)], lead)


def patches(run: Run) -> Section | None:
    blocks: list[Block] = []
    for name, files in run.patches.items():
        mpps = sorted({mpp for file in files.values() for mpp in file.counts}, reverse=True)
        sizes = {file.size_px for file in files.values() if file.size_px}
        totals = [sum(file.counts.get(mpp, 0) for file in files.values()) for mpp in mpps]
        size = f" of {', '.join(str(size) for size in sorted(sizes))} px" if sizes else ""
        at = [*(f"{mpp:g} µm/px" if mpp else "µm/px not known" for mpp in mpps), "all"]
        rows = [["all", *totals, sum(totals)]]
        for split, counts in run.split_counts.get(name, {}).items():
            rows.append([f"of these: {split}", *(counts.get(mpp, 0) for mpp in mpps), sum(counts.values())])
        folder = run.folder / "patches" / name
        blocks.append(Table([name, *at], rows, f"Patch set {name}: number of patches{size}.", folder))
        rows = []
        for slide, file in files.items():
            known = run.slides.get(slide)
            patient, where = (known.patient, _split_text(known)) if known else ("", "")
            numbers = [file.counts.get(mpp, 0) for mpp in mpps]
            rows.append([Cell(slide, file.file), patient, where, *numbers, sum(numbers)])
        blocks.append(Table(["slide", "patient", "split", *at], rows, f"Patches of each slide in {name}."))
        shown = [file for file in files.values() if file.picture][:SHOWN_PLACES]
        pictures = [figure(run, file.picture, f"{file.file.stem}: where patches were cut", 500) for file in shown]
        pictures = [one for one in pictures if one]
        if pictures:
            blocks.append(Figures(pictures, "third"))
    return Section("patches", "Patches", blocks) if blocks else None


def _split_text(slide: Slide) -> str:
    parts = []
    for row in slide.splits:
        place = place_of(row)
        parts.append(f"{row['split']} ({place})" if place else row["split"])
    return ", ".join(parts)


def tissue(run: Run) -> Section | None:
    slides = [one for one in run.slides.values() if one.qc and not one.error]
    if not slides:
        return None
    slides.sort(key=lambda one: (not one.warnings, one.name))
    rows = [
        [
            Cell(one.name, one.qc_file),
            one.qc.get("area_mm2"),
            f"{one.qc['fraction']:.1%}" if isinstance(one.qc.get("fraction"), int | float) else "–",
            one.qc.get("source") or "",
            "; ".join(one.warnings),
        ]
        for one in slides
    ]
    blocks: list[Block] = [
        Table(["slide", "tissue mm²", "of the slide", "found by", "warnings"], rows, "Tissue of each slide.")
    ]
    with_overlay = [one for one in slides if one.overlay]
    pictures = [
        figure(run, one.overlay, f"{one.name}{': ' + '; '.join(one.warnings) if one.warnings else ''}", 480)
        for one in with_overlay[:SHOWN_OVERLAYS]
    ]
    pictures = [one for one in pictures if one]
    if pictures:
        blocks.append(Figures(pictures, "third"))
    if len(with_overlay) > SHOWN_OVERLAYS:
        rest = count_text(len(with_overlay) - SHOWN_OVERLAYS, "more overlay")
        blocks.append(Prose(f"{rest} in the run's folder; slides with warnings are shown first."))
    return Section("tissue", "Tissue", blocks)


def times(run: Run) -> Section | None:
    if not run.benchmarks:
        return None
    steps = defaultdict(list)
    for benchmark in run.benchmarks:
        steps[benchmark.step].append(benchmark)
    totals = {step: sum(one.seconds for one in jobs) for step, jobs in steps.items()}
    rows = []
    for step in sorted(steps, key=lambda step: -totals[step]):
        jobs = steps[step]
        memory = [one.memory_mb for one in jobs if one.memory_mb is not None]
        peak = _right(f"{max(memory):,.0f} MB" if memory else "–")
        longest = _right(duration_text(max(one.seconds for one in jobs)))
        rows.append([step, len(jobs), _right(duration_text(totals[step])), longest, peak])
    rows.append(["all", len(run.benchmarks), _right(duration_text(sum(totals.values()))), "", ""])
    caption = (
        "Wall time of the jobs, and their peak memory. Jobs run side by side, so that the run is shorter than the sum."
    )
    columns = ["step", "jobs", "time", "longest job", "peak memory"]
    return Section("times", "Time of each step", [Table(columns, rows, caption, run.folder / "benchmarks")])


def _right(text: str) -> Cell:
    return Cell(text, number=True)


def recipe(run: Run) -> Section | None:
    if not run.recipe_text:
        return None
    return Section("recipe", "Recipe", [Code(run.recipe_text, "the whole recipe, defaults included", run.recipe_file)])


def made_with(run: Run) -> Section:
    seed = f"Seed of the run: {run.recipe['seed']}." if "seed" in run.recipe else "The seed of the run is not known."
    caption = "Versions are those that this report was written with."
    blocks: list[Block] = [
        Prose(seed),
        Table(["library", "version"], [list(row) for row in versions().items()], caption, fold_over=60),
    ]
    if run.other_evaluations:
        files = [[Cell(path.name, path)] for path in run.other_evaluations]
        blocks.append(Table(["other files of the evaluation"], files))
    return Section("versions", "Seed and versions", blocks)
