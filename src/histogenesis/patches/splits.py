"""What is held out: whole patients, or, where there is only one, a part of its slide."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput

if TYPE_CHECKING:
    from histogenesis.slides.table import SlideRow

COLUMNS = ("slide", "patient", "split", "x_from", "x_to")


def split_slides(rows: Iterable[SlideRow], options: config.Split, set_aside: Collection[str] = ()) -> list[dict]:
    """The rows of splits.tsv: slide, patient, split, and the part of the slide's width that counts (x_from to x_to).

    A split that the slide table names wins. by="patient": the others go whole to validation or train, at least one
    patient each; by="region": the right part of every slide (`validation` of its width) is held out. Slides in
    `set_aside` are left out. Raises BadInput if nothing is left to train on or to hold out.
    """
    rows = [row for row in rows if row.slide not in set_aside]
    if not rows:
        raise BadInput("no slide is left to split: all were set aside; see the records' errors")
    if options.by == "region":
        return [part for row in rows for part in regions(row, options)]
    named = {row.patient: row.split for row in rows if row.split}
    splits = named | draw_patients({row.patient for row in rows} - set(named), named, options)
    if "train" not in splits.values() or (options.validation > 0 and "validation" not in splits.values()):
        raise BadInput(
            f"a split by patient needs a patient to train on and one to hold out, and there {counted(len(splits))}: add"
            " slides of other patients, correct the column `split`, or hold out a part of each slide with `split: {by: region}`"
        )
    return [entry(row, splits[row.patient], 0.0, 1.0) for row in rows]


def draw_patients(patients: Collection[str], named: dict[str, str], options: config.Split) -> dict[str, str]:
    """Train or validation for patients without a split of their own: by a digest of (seed, patient), not by their order."""
    held_out = round(options.validation * (len(patients) + len(named))) - list(named.values()).count("validation")
    least = int(options.validation > 0 and "validation" not in named.values())
    most = len(patients) - int("train" not in named.values())
    held_out = max(0, min(max(held_out, least), most))
    ranked = sorted(patients, key=lambda patient: hashlib.sha256(f"split/{options.seed}/{patient}".encode()).digest())
    return {patient: "validation" if k < held_out else "train" for k, patient in enumerate(ranked)}


def regions(row: SlideRow, options: config.Split) -> list[dict]:
    """A slide's left part trains, its right part is held out; a slide whose split the table names is whole."""
    if row.split:
        return [entry(row, row.split, 0.0, 1.0)]
    border = round(1 - options.validation, 6)
    parts = [entry(row, "train", 0.0, border), entry(row, "validation", border, 1.0)]
    return [part for part in parts if part["x_to"] > part["x_from"]]


def entry(row: SlideRow, split: str, x_from: float, x_to: float) -> dict:
    """One row of splits.tsv."""
    return dict(zip(COLUMNS, (row.slide, row.patient, split, x_from, x_to)))


def counted(patients: int) -> str:
    """How many patients there are, in words."""
    return "is one patient" if patients == 1 else f"are {patients} patients, all in one split or in test"


def write_splits(path: Path, entries: list[dict]) -> None:
    """Write splits.tsv to a temporary name, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)
    os.replace(part, path)


def read_splits(path: Path) -> list[dict]:
    """Read splits.tsv, x_from and x_to as floats. Raises BadInput for a file that lacks a column."""
    with open(path, newline="") as file:
        entries = list(csv.DictReader(file, delimiter="\t"))
    try:
        return [{**item, "x_from": float(item["x_from"]), "x_to": float(item["x_to"])} for item in entries]
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{path}: is no split table: columns {', '.join(COLUMNS)}; delete it and run again") from None
