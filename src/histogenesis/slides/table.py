"""The slide table (slides.tsv), and what is recorded of each slide before anything else is done with it."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.slides.check import check_picture, check_tiff_complete, check_tiles, sha256_of
from histogenesis.slides.read import COARSEST_MPP, FINEST_MPP, Slide, check_present, open_slide

SLIDE_ROOT = "HISTOGENESIS_SLIDE_ROOT"


class SlideRow(BaseModel):
    """A row of the slide table. `path`, `tissue`, `regions` are relative to the slide root; `mpp` overrides the file's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slide: config.Name
    path: Annotated[str, Field(min_length=1)]
    patient: config.Name
    mpp: Annotated[float, Field(ge=FINEST_MPP, le=COARSEST_MPP)] | None = None
    label: str | None = None
    split: Literal["train", "validation", "test"] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    tissue: str | None = None
    regions: str | None = None

    @model_validator(mode="before")
    @classmethod
    def own_patient(cls, values):
        """Without a patient, a slide is a patient of its own."""
        return {**values, "patient": values.get("patient") or values.get("slide")}


def read_table(path: str | Path) -> list[SlideRow]:
    """Read slides.tsv: tab-separated, columns `slide` and `path`, and any of patient, mpp, label, split,
    sha256, tissue, regions.

    Raises BadInput with everything that is wrong, one line each. OSErrors rise, except for a table that does not exist.
    """
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, comment="#", skip_blank_lines=True)
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such slide table: correct `slides.table` in the recipe") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path}: is not a table of tab-separated columns ({str(error).strip()}): save it as .tsv"
        ) from None
    table.columns = table.columns.str.strip()
    known = list(SlideRow.model_fields)
    problems = [f"unknown column {name!r}; there are {', '.join(known)}" for name in table.columns if name not in known]
    problems += [f"no column {name!r}; is the table tab-separated?" for name in ("slide", "path") if name not in table]
    if problems:
        raise _bad_table(path, problems)
    rows = []
    for number, cells in enumerate(table.to_dict("records"), start=2):
        values = {name: cell.strip() for name, cell in cells.items() if cell.strip()}
        values |= {"sha256": values["sha256"].lower()} if "sha256" in values else {}
        try:
            rows.append(SlideRow.model_validate(values))
        except ValidationError as error:
            problems += [f"line {number}, {values.get('slide', '(no name)')}: {_in_words(p)}" for p in error.errors()]
    if not len(table):
        problems.append("it has no rows")
    if problems := problems + _contradictions(rows):
        raise _bad_table(path, problems)
    return rows


def _in_words(problem: dict) -> str:
    column, given = str(problem["loc"][0]), problem["input"]
    remedy = {
        "mpp": f"give micrometres per pixel, {FINEST_MPP:g} to {COARSEST_MPP:g}, or leave it empty to take the file's own",
        "split": "give train, validation, test, or leave it empty",
        "sha256": "give 64 hexadecimal digits, or leave it empty",
        "slide": "give a name of letters, digits, and . _ - (the first a letter or a digit)",
        "patient": "give a name of letters, digits, and . _ - (the first a letter or a digit)",
    }.get(column, problem["msg"])
    return (
        f"{column} is missing: {remedy}" if problem["type"] == "missing" else f"{column} {given!r} cannot be: {remedy}"
    )


def _contradictions(rows: list[SlideRow]) -> list[str]:
    """What is wrong between rows: names and files given twice, and patients that are in two splits."""
    problems, seen = [], {"slide": set(), "path": set()}
    splits: dict[str, set[str]] = {}
    for row in rows:
        for field, values in seen.items():
            value = getattr(row, field)
            if value in values:
                problems.append(f"{field} {value!r} is there twice: rename or remove one of the rows")
            values.add(value)
        if row.split:
            splits.setdefault(row.patient, set()).add(row.split)
    problems += [
        f"patient {patient!r} is in two splits ({', '.join(sorted(names))}): give all slides of a patient the same split"
        for patient, names in splits.items()
        if len(names) > 1
    ]
    return problems


def _bad_table(path: str | Path, problems: list[str]) -> BadInput:
    return BadInput(f"{path} cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))


def rows_of(slides: config.Slides, run: str) -> list[SlideRow]:
    """The rows of the table, and one for each phantom, whose path is `run:phantoms/{name}.tif`: in the run's own folder.

    Raises BadInput as `read_table` does, and for a name that stands for two slides.
    """
    rows = read_table(slides.table) if slides.table else []
    rows += [
        SlideRow(slide=p.name, path=f"run:phantoms/{p.name}.tif", patient=p.patient or p.name, label=p.label)
        for p in slides.phantoms
    ]
    if problems := _contradictions(rows):
        raise BadInput(
            f"the slides of run {run!r} cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems)
        )
    return rows


def slide_path(path: str, run_dir: str | Path | None = None) -> Path:
    """Where a path of the table leads.

    `package://name/file` is inside an installed Python package, `run:file` in `run_dir`, and all else is relative to the
    folder that the environment variable HISTOGENESIS_SLIDE_ROOT names (default: the working directory).
    """
    if path.startswith("package://"):
        package, _, inside = path.removeprefix("package://").partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise BadInput(f"{path}: there is no Python package {package!r} here: install it, or correct the path")
        return Path(spec.submodule_search_locations[0]) / inside
    if path.startswith("run:"):
        if run_dir is None:
            raise BadInput(f"{path}: lies in a run's folder, and none was given: name it (--run-dir)")
        return Path(run_dir) / path.removeprefix("run:")
    return Path(os.environ.get(SLIDE_ROOT) or ".") / path


def register(row: SlideRow, run_dir: str | Path | None = None) -> dict:
    """Check one slide, and describe it: slide, path, sha256, bytes, mpp, width_px, height_px, vendor, error.

    A slide that cannot be used has one line in `error` (file, what is wrong, what to do) and None for what is not known.
    A read error that may pass (network, permission) is no property of the slide: it rises as OSError.
    """
    record = dict.fromkeys(("sha256", "bytes", "mpp", "width_px", "height_px", "vendor", "error"))
    record = {"slide": row.slide, "path": row.path, **record}
    path = Path(row.path)
    try:
        path = slide_path(row.path, run_dir)
        check_present(path)
        record |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        check_tiff_complete(path)
        if row.sha256 and row.sha256 != record["sha256"]:
            raise BadInput(
                f"{path}: its sha256 is {record['sha256'][:12]}..., but the slide table says {row.sha256[:12]}...: copy the"
                " file again, or correct the `sha256` column if it was changed on purpose"
            )
        with open_slide(path, row.mpp) as slide:
            record |= {
                "width_px": slide.width_px,
                "height_px": slide.height_px,
                "vendor": slide.vendor,
                "mpp": slide.mpp,
            }
            check_tiles(slide)
            check_picture(slide)
    except BadInput as error:
        record["error"] = str(error).replace(str(path), row.path)
    return record


def open_record(record_json: str | Path, run_dir: str | Path | None = None) -> Slide:
    """Open the slide of a record that `register` made. Raises BadInput with the record's error if it was set aside."""
    record = json.loads(Path(record_json).read_text())
    if record["error"]:
        raise BadInput(record["error"])
    return open_slide(slide_path(_path_now(record, run_dir), run_dir), record["mpp"])


def _path_now(record: dict, run_dir: str | Path | None) -> str:
    """A slide that is the same under another path is not registered anew: the rows that its run started with have that path."""
    rows = Path(run_dir or ".", "state", "slides.json")
    row = json.loads(rows.read_text()).get(record["slide"]) if rows.is_file() else None
    return row["path"] if row else record["path"]
