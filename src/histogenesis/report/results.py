"""Sections about what came out: synthetic slides, real against synthetic, coherence, metrics, models."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.report.blocks import (
    Block,
    Cell,
    Figure,
    Figures,
    Interval,
    Prose,
    Section,
    Table,
    Verdict,
    number_text,
)
from histogenesis.report.found import Model, Run, Synthetic
from histogenesis.report.pictures import data_url, file_url, framed, overview, with_scale_bar, zooms
from histogenesis.report.verdict import bottom_line, statements

SHOWN_SLIDES = 4
SHOWN_SHEETS = 3


def figure(run: Run, file, caption: str, long_side: int, label: str = "") -> Figure | None:
    """A picture file as a figure; None (and a problem noted) when it cannot be read."""
    try:
        return Figure(file_url(file, long_side), caption, file, label)
    except (OSError, ValueError) as error:
        run.problems.append(f"{file.relative_to(run.folder)} could not be shown: {error}")
        return None


def verdict(run: Run) -> Section:
    found = statements(run)
    return Section("verdict", "Verdict", [Verdict(found, bottom_line(found))])


def synthetic(run: Run) -> Section | None:
    if not run.synthetic:
        return None
    blocks: list[Any] = []
    for one in run.synthetic[:SHOWN_SLIDES]:
        blocks += _pictures(run, one)
    if len(run.synthetic) > SHOWN_SLIDES:
        blocks.append(Prose(f"The first {SHOWN_SLIDES} of {len(run.synthetic)} synthetic slides are shown."))
    rows = [
        [
            Cell(one.name, one.tif),
            len(one.levels),
            _size_text(one),
        ]
        for one in run.synthetic
    ]
    blocks.append(Table(["slide", "levels", "file"], rows, "The files: pyramidal TIFF, for QuPath and OpenSlide."))
    blocks.append(_viewer(run))
    levels = ((run.recipe.get("synthetic") or {}).get("levels")) or []
    if levels:
        blocks.append(
            Table(
                ["level", "µm/px", "model", "tile px", "constraint", "joining", "sampler"],
                [_recipe_level(k, level) for k, level in enumerate(levels)],
                "How each level is drawn.",
                run.recipe_file,
            )
        )
    return Section("synthetic", "Synthetic slides", blocks)


def _viewer(run: Run) -> Table | Prose:
    """Where one can zoom into the slides: the folder of the viewer, or the command that shows it."""
    page = run.folder / "viewer/index.html"
    if page.is_file():
        return Table(
            ["viewer"], [[Cell("open the viewer", page)]], "Deep zoom, two pictures side by side, every level."
        )
    return Prose(f"To zoom into them, two side by side, at every level: histogenesis view results/{run.folder.name}")


def _size_text(one: Synthetic) -> str:
    return f"{number_text(max(0.1, one.tif.stat().st_size / 1e6), 2)} MB" if one.tif else "not stitched"


def _recipe_level(k: int, level: dict) -> list:
    sampler, drawn = level.get("sampler") or {}, [_kind(level.get(key)) for key in ("constraint", "joining")]
    steps = f"{sampler.get('kind', '')}, {sampler['steps']} steps" if sampler.get("steps") else _kind(sampler or None)
    if level.get("kind") == "upscale":
        drawn = [f"upscaled: {_kind(level.get('method'))}", "–"]
    if level.get("kind") == "given":
        return [k, level.get("mpp"), f"given: {level.get('slide')}", "–", "–", "–", "–"]
    smaller = level.get("cascade") or []
    models = " → ".join([*(str(one.get("model")) for one in smaller), str(level.get("model"))])
    sizes = " → ".join([*(str(one.get("tile_px")) for one in smaller), str(level.get("tile_px"))])
    return [k, level.get("mpp"), models, sizes, *drawn, steps]


def _kind(section: Any) -> str:
    """A constraint, joining or sampler in words: "null-space (relaxation: steps 4)"."""
    if not isinstance(section, dict):
        return "–" if section is None else str(section)
    rest = []
    for key, value in section.items():
        if isinstance(value, dict):
            rest.append(f"{key}: " + " ".join(f"{k} {v}" for k, v in value.items() if v is not None))
        elif key != "kind" and value is not None:
            rest.append(f"{key}: {value}")
    return str(section.get("kind", "")) + (f" ({', '.join(rest)})" if rest else "")


def _pictures(run: Run, one: Synthetic) -> list:
    """The whole slide with frames, and the place in each frame."""
    if not one.levels or not one.plan:
        return [Prose(f"{one.name}: its levels are not here, so there is nothing to show.")]
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(file) for file in open_levels(one.levels[0].parent)]
            images, mpps = [file["image"] for file in files], [float(file.attrs["mpp"]) for file in files]
            windows = zooms(images, mpps, read_plan(one.plan))
            small = overview(images)
            small = with_scale_bar(small, mpps[-1] * images[-1].shape[1] / small.width, text_px=20)
            whole = data_url(framed(small, windows, images))
    except (OSError, ValueError, KeyError, BadInput) as error:
        run.problems.append(f"synthetic/{one.name} could not be shown: {error}")
        return []
    caption = f"{one.name}: the whole slide. Numbered frames are the windows shown below, one for each level."
    crops = [
        Figure(
            data_url(zoom.picture),
            f"level {zoom.level}: {zoom.mpp:g} µm/px, {zoom.side} px wide",
            one.levels[zoom.level],
            f"{zoom.level}",
        )
        for zoom in windows
    ]
    return [
        Figures([Figure(whole, caption, one.tif or one.levels[-1])], "wide"),
        Figures(crops, "quarter", pixelated=True),
    ]


def contact_sheets(run: Run) -> Section | None:
    sheets = [one for one in run.synthetic if one.contact]
    shown = [figure(run, one.contact, f"{one.name}", 1900) for one in sheets[:SHOWN_SHEETS]]
    shown = [one for one in shown if one]
    if not shown:
        return None
    lead = (
        "At each resolution, held-out patches of real slides above patches of the synthetic slide: same µm per pixel, same"
        " size, random places with tissue in both. Nothing was picked by eye."
    )
    blocks: list[Block] = [Figures(shown, "wide")]
    if len(sheets) > SHOWN_SHEETS:
        blocks.append(Prose(f"The first {SHOWN_SHEETS} of {len(sheets)} sheets are shown."))
    return Section("contact", "Real and synthetic, side by side", blocks, lead)


def memorisation(run: Run) -> Section | None:
    """What lies closest to the training patches, side by side."""
    pairs = run.folder / "evaluation/closest_pairs.png"
    if not run.memorisation or not pairs.is_file():
        return None
    audits = run.memorisation.get("encoders", {})
    rows = [
        [name, audit.get("verdict", ""), audit.get("sentence", "")]
        for name, audit in audits.items()
        if isinstance(audit, dict)
    ]
    lead = "The generated patches closest to a training patch, each above the one that it resembles. Copies would show here."
    blocks: list[Block] = [
        Figures([Figure(file_url(pairs, 1100), "Closest pairs.", pairs)], "wide"),
        Table(["encoder", "verdict", "why"], rows, "", run.memorisation_file),
    ]
    return Section("memorisation", "Are training patches copied?", blocks, lead)


def _numbers(row: dict, *names: str) -> bool:
    return all(isinstance(row.get(name), int | float) for name in names)


def coherence(run: Run) -> Section | None:
    measured = [(one, level) for one in run.synthetic for level in one.coherence.get("levels", [])]
    if not measured:
        return None
    scored = [level["seams"] for _, level in measured if level["seams"]["score"] is not None]
    axis = (min([0.9, *(s["low"] for s in scored)]), max([1.1, *(s["high"] for s in scored)]))
    seam_rows, scale_rows = [], []
    for one, level in measured:
        seams, scale = level["seams"], level["cross_scale"]
        name = [Cell(one.name, one.coherence_file), level["level"], level["mpp"]]
        tiles = [_kind(level["joining"]), level["tile_px"], seams["lines"]]
        if seams["score"] is None:
            seam_rows.append([*name, *tiles, "–", seams["note"], "", "–"])
        else:
            drawn = Interval(seams["low"], seams["score"], seams["high"], axis, reference=1)
            interval = f"{seams['low']:.2f} to {seams['high']:.2f}"
            seam_rows.append(
                [*name, *tiles, Cell(f"{seams['score']:.2f}", number=True), interval, drawn, seams["jump"]]
            )
        if scale:
            inside, overall = scale["tissue"], scale["overall"]
            errors = [inside["mean"], inside["rmse"], inside["max"], overall["mean"], overall["rmse"], overall["max"]]
            scale_rows.append([*name, _kind(level["constraint"]), *errors])
    blocks: list[Block] = [
        Table(
            ["slide", "level", "µm/px", "joining", "tile px", "lines", "seam score", "95 % interval", "drawn", "jump"],
            seam_rows,
            "Seams: how steep the picture is across the borders of the unshifted tile grid, over how steep it is across"
            " lines shifted at random, inside tissue. 1: a tile border is a line like any other. Jump: the same as a"
            " difference, in grey steps of 255.",
        ),
    ]
    blocks += _seams_in_features(run)
    blocks += _maps(run)
    if scale_rows:
        columns = ["slide", "level", "µm/px", "constraint", "mean", "RMSE", "max", "mean, all", "RMSE, all", "max, all"]
        caption = (
            "Scales: difference between a level averaged over the pixels of the level above, and that level, in grey steps"
            " of 255; inside tissue, and over the whole slide (all). Rounding alone gives 0.5 at most."
        )
        blocks.append(Table(columns, scale_rows, caption))
    return Section("coherence", "Do tiles and scales agree?", blocks)


def _maps(run: Run) -> list[Figures]:
    """Where the tiles of a level differ at their borders, and where a level departs from the one above, on the slide."""
    found = []
    for one in run.synthetic[:SHOWN_SLIDES]:
        for level in one.coherence.get("levels", []):
            about = f"{one.name}, level {level['level']} ({level['mpp']:g} µm/px)"
            seams = map_file(one, level["seams"].get("picture"))
            if seams:
                caption = f"{about}: borders of tiles; red: steeper than elsewhere, blue: flatter"
                found.append(figure(run, seams, caption, 900))
            scale = map_file(one, level.get("cross_scale_map"))
            if scale and one.levels:
                found.append(_laid_over(run, one, level, scale, f"{about}: red where it departs from the level above"))
    found = [picture for picture in found if picture]
    return [Figures(found, "third")] if found else []


def map_file(one: Synthetic, name: Any) -> Path | None:
    """A picture that coherence.json names, beside it."""
    path = one.coherence_file.parent / Path(name).name if one.coherence_file and isinstance(name, str) else None
    return path if path and path.is_file() else None


def _laid_over(run: Run, one: Synthetic, level: dict, path: Path, caption: str) -> Figure | None:
    """A map with clear places over the slide in grey."""
    try:
        with ExitStack() as stack:
            images = [stack.enter_context(file)["image"] for file in open_levels(one.levels[0].parent)]
            small = overview(images[: level["level"] + 1], 600).convert("L").convert("RGBA")
        with Image.open(path) as errors:
            small.alpha_composite(errors.convert("RGBA").resize(small.size, Image.Resampling.NEAREST))
        return Figure(data_url(small), caption, path)
    except (OSError, ValueError, BadInput) as error:
        run.problems.append(f"{path.relative_to(run.folder)} could not be shown: {error}")
        return None


def _seams_in_features(run: Run) -> list[Table]:
    found = [row for row in run.metrics if row.get("name") == "seam_mmd" and _numbers(row, "mpp", "value", "floor")]
    keys = ("level", "joining", "encoder", "value", "chance", "p", "floor", "floor_p")
    rows = [[f"{row['mpp']:g}", *("" if row.get(key) is None else row[key] for key in keys)] for row in found]
    caption = (
        "Seams to an encoder: the kernel distance (1000 MMD²) between crops across tile lines and crops beside. Chance: what it"
        " stays below in 95 of 100 random exchanges within the pairs; p: how often chance gives as much (small: a seam, be it"
        " a step, a blur or two sides that do not belong together). The same on real slides, whose tiles are imagined."
    )
    columns = ["µm/px", "level", "joining", "encoder", "distance", "chance", "p", "real slides", "p, real"]
    return [Table(columns, rows, caption, run.metrics_file)] if rows else []


def models(run: Run) -> Section | None:
    blocks: list[Any] = []
    for model in run.models:
        file = model.folder / "model.json"
        if model.card:
            blocks.append(Table(["model", model.name], _card(model), "", file, fold_over=60))
        pictures = [
            figure(run, path, caption, 900)
            for path, caption in (
                (model.loss_png, f"{model.name}: loss while learning"),
                (model.samples_png, f"{model.name}: samples at the end of the training, drawn from noise"),
            )
            if path
        ]
        pictures = [one for one in pictures if one]
        if pictures:
            blocks.append(Figures(pictures, "half"))
    return Section("models", "Models", blocks) if blocks else None


def _card(model: Model) -> list[list]:
    rows = []
    for key, value in model.card.items():
        if isinstance(value, dict):
            text = ", ".join(
                f"{k} {v if isinstance(v, str | int | float) else json.dumps(v)}" for k, v in value.items()
            )
        elif isinstance(value, list):
            text = ", ".join(str(item) for item in value)
        else:
            text = number_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        rows.append([key.replace("_", " "), text])
    running = [line for line in model.losses if line.get("loss") is not None]
    if running:
        first, last = running[0], running[-1]
        words = f"{number_text(first['loss'])} at step {first['step']:,}, {number_text(last['loss'])} at step {last['step']:,}"
        rows.append(["training loss", words])
        if last.get("images"):
            rows.append(["images seen", number_text(last["images"])])
    return rows
