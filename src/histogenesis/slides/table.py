"""The slide table (slides.tsv), and what is recorded of each slide before anything else is done with it."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.core.files import sha256_of
from histogenesis.core.whole import load_json
from histogenesis.slides.check import check_picture, check_tiff_complete, probe_tiles
from histogenesis.slides.files import digest_of_files, files_of_slide
from histogenesis.slides.fingerprint import fingerprint
from histogenesis.slides.importing import import_slide
from histogenesis.slides.plausible import COARSEST_MPP, FINEST_MPP
from histogenesis.slides.read import Slide, Unreadable, check_present, open_slide

SLIDE_ROOT = "HISTOGENESIS_SLIDE_ROOT"


class SlideRow(BaseModel):
    """A row of the slide table. `path`, `tissue`, `regions` are relative to the slide root; `mpp` overrides the file's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slide: config.Name
    path: Annotated[str, Field(min_length=1)]
    patient: str = ""
    mpp: Annotated[float, Field(ge=FINEST_MPP, le=COARSEST_MPP)] | None = None
    label: str | None = None
    split: Literal["train", "validation", "test"] | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    tissue: str | None = None
    regions: str | None = None

    @model_validator(mode="after")
    def own_patient(self):
        """Without a patient, a slide is a patient of its own."""
        if not self.patient:
            object.__setattr__(self, "patient", self.slide)
        return self

    @property
    def patient_stated(self) -> bool:
        """Whether the table names the patient."""
        return "patient" in self.model_fields_set


def read_table(path: str | Path) -> list[SlideRow]:
    """Read slides.tsv: tab-separated, columns `slide` and `path`, and any of patient, mpp, label, split,
    sha256, tissue, regions. A line whose first character is # is a remark; elsewhere # is a letter like others.

    Raises BadInput with everything that is wrong, one line each. OSErrors rise, except for a table that does not exist.
    """
    (_, names), *lines = _lines(path)
    known = list(SlideRow.model_fields)
    problems = [f"unknown column {name!r}; there are {', '.join(known)}" for name in names if name not in known]
    problems += [f"no column {name!r}; is the table tab-separated?" for name in ("slide", "path") if name not in names]
    problems += [f"column {name!r} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if problems:
        raise _bad_table(path, problems)
    rows = []
    for number, cells in lines:
        if extra := [cell for cell in cells[len(names) :] if cell]:
            problems.append(
                f"line {number}: has {len(cells)} fields for {len(names)} columns (too many: {', '.join(map(repr, extra))}):"
                " take the extra tab out, or name its column"
            )
            continue
        values = {name: cell for name, cell in zip(names, cells) if cell}
        values |= {"sha256": values["sha256"].lower()} if "sha256" in values else {}
        try:
            rows.append(SlideRow.model_validate(values))
        except ValidationError as error:
            problems += [f"line {number}, {values.get('slide', '(no name)')}: {_in_words(p)}" for p in error.errors()]
    if not lines:
        problems.append("it has no rows")
    if problems := problems + _contradictions(rows):
        raise _bad_table(path, problems)
    return rows


def _lines(path: str | Path) -> list[tuple[int, list[str]]]:
    """(number, cells without surrounding blanks) of each line that is neither empty nor a remark; the header is the first."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter="\t", strict=True)
            found = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such slide table: correct `slides.table` in the recipe") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: is not a table of tab-separated columns in UTF-8 ({error}): save it as .tsv") from None
    found = [(number, cells) for number, cells in found if any(cells) and not cells[0].startswith("#")]
    if not found:
        raise BadInput(f"{path}: is not a table of tab-separated columns (it is empty): save it as .tsv")
    return found


def _in_words(problem: Mapping[str, Any]) -> str:
    column, given = str(problem["loc"][0]), problem["input"]
    remedy = {
        "mpp": f"give micrometres per pixel, {FINEST_MPP:g} to {COARSEST_MPP:g}, or leave it empty to take the file's own",
        "split": "give train, validation, test, or leave it empty",
        "sha256": "give 64 hexadecimal digits, or leave it empty",
        "slide": "give a name of letters, digits, and . _ - (the first a letter or a digit)",
    }.get(column, problem["msg"])
    return (
        f"{column} is missing: {remedy}" if problem["type"] == "missing" else f"{column} {given!r} cannot be: {remedy}"
    )


def _contradictions(rows: list[SlideRow]) -> list[str]:
    """What is wrong between rows: names and files given twice, and patients that are in two splits."""
    problems = []
    seen: dict[str, set[str]] = {"slide": set(), "path": set()}
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


KNOWN = ("sha256", "bytes", "files", "mpp", "width_px", "height_px", "vendor", "facts", "damaged", "fingerprint")
MAX_DAMAGED = 0.1


def register(row: SlideRow, run_dir: str | Path | None = None, max_damaged: float = MAX_DAMAGED) -> dict:
    """Check one slide, and describe it: slide, path, sha256 and bytes (of all its files), files (their number), mpp, width_px,
    height_px, vendor, facts (compression, JPEG quality, bits, ICC profile), damaged (`probe_tiles`), fingerprint, warnings,
    error.

    A slide that cannot be used has one line in `error` (file, what is wrong, what to do) and None for what is not known.
    What no slide reader opens is imported: then `path` is that of the pyramid in `run_dir`, and `imported_from` the table's.
    A read error that may pass (network, permission) is no property of the slide: it rises as OSError.
    """
    record = {"slide": row.slide, "path": row.path, **dict.fromkeys(KNOWN), "warnings": [], "error": None}
    path = Path(row.path)
    try:
        path = slide_path(row.path, run_dir)
        check_present(path)
        files = files_of_slide(path)
        record |= {"bytes": sum(file.stat().st_size for file in files), "files": len(files)}
        record["sha256"] = digest_of_files(files, sha256_of)
        check_tiff_complete(path)
        if row.sha256 and row.sha256 not in (record["sha256"], sha256_of(path) if len(files) > 1 else ""):
            raise BadInput(
                f"{path}: its sha256 is {record['sha256'][:12]}..., but the slide table says {row.sha256[:12]}...: copy the"
                " file again, or correct the `sha256` column if it was changed on purpose"
            )
        with _open_or_import(row, path, run_dir, record) as slide:
            record |= {
                "width_px": slide.width_px,
                "height_px": slide.height_px,
                "vendor": slide.vendor,
                "mpp": slide.mpp,
                "facts": slide.facts,
            }
            damaged = probe_tiles(slide, max_damaged)
            picture, warnings = check_picture(slide)
            record |= {"fingerprint": fingerprint(picture), "damaged": {k: damaged[k] for k in ("probed", "failed")}}
            record["warnings"] = [*record["warnings"], *slide.warnings, *warnings]
            if damaged["failed"] or slide.damaged:
                first = (damaged["first"] or "").removeprefix(f"{path}: ")
                record["warnings"].append(
                    f"damaged: {damaged['failed']} of {damaged['probed']} places tried cannot be decoded, and"
                    f" {len(slide.damaged)} of the overview; they are left out{f' (first: {first})' if first else ''}"
                )
    except BadInput as error:
        record["error"] = str(error).replace(str(path), row.path)
    record["warnings"] = [text.replace(str(path), row.path) for text in record["warnings"]]
    return record


def _open_or_import(row: SlideRow, path: Path, run_dir: str | Path | None, record: dict) -> Slide:
    """The open slide: the file itself, or the pyramid that is made of it."""
    try:
        return open_slide(path, row.mpp)
    except Unreadable as unreadable:
        if run_dir is None:
            raise
        inside = f"imported/{row.slide}.tif"
        try:
            what = import_slide(path, Path(run_dir, inside), row.mpp)
        except BadInput as error:
            raise (unreadable if "can be imported" in str(error) else error) from None
        record |= {"path": f"run:{inside}", "imported_from": row.path}
        record["warnings"].append(f"imported once from {what} into a pyramid of JPEG tiles (quality 90)")
        return open_slide(Path(run_dir, inside))


def open_record(record_json: str | Path, run_dir: str | Path | None = None) -> Slide:
    """Open the slide of a record that `register` made. Raises BadInput with the record's error if it was set aside."""
    record = load_json(Path(record_json))
    if record["error"]:
        raise BadInput(record["error"])
    return open_slide(slide_path(_path_now(record, run_dir), run_dir), record["mpp"])


def _path_now(record: dict, run_dir: str | Path | None) -> str:
    """A slide that is the same under another path is not registered anew: the rows that its run started with have that path."""
    rows = Path(run_dir or ".", "state", "slides.json")
    row = load_json(rows).get(record["slide"]) if rows.is_file() else None
    return row["path"] if row else record["path"]
