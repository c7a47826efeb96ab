"""What is held out: whole patients, or, where there is only one, a part of its slide that holds its share of the tissue."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.core.files import write_rows
from histogenesis.slides.fingerprint import copies

if TYPE_CHECKING:
    from histogenesis.slides.table import SlideRow

PART = {"x_from": 0.0, "x_to": 1.0, "y_from": 0.0, "y_to": 1.0}
COLUMNS = ("slide", "patient", "split", *PART)


def split_slides(
    rows: Iterable[SlideRow],
    options: config.Split,
    set_aside: Collection[str] = (),
    masks: Mapping[str, np.ndarray] | None = None,
) -> list[dict]:
    """The rows of splits.tsv: slide, patient, split, and the part of the slide that counts (x_from to x_to of its width,
    y_from to y_to of its height).

    A split that the slide table names wins. by="patient": the others go whole to validation or train, at least one
    patient each; by="region": of every slide, the part at its right or lower end that holds `validation` of its tissue is
    held out. masks: slide -> where it has tissue, bool (h, w); without one, all of a slide counts as tissue. Slides in
    `set_aside` are left out. Raises BadInput if nothing is left to train on or to hold out.
    """
    rows = [row for row in rows if row.slide not in set_aside]
    if not rows:
        raise BadInput("no slide is left to split: all were set aside; see the records' errors")
    if options.by == "region":
        return [part for row in rows for part in regions(row, options, (masks or {}).get(row.slide))]
    named = {row.patient: row.split for row in rows if row.split}
    splits = named | draw_patients({row.patient for row in rows} - set(named), named, options)
    if "train" not in splits.values() or (options.validation > 0 and "validation" not in splits.values()):
        raise BadInput(
            f"a split by patient needs a patient to train on and one to hold out, and there {counted(len(splits))}: add"
            " slides of other patients, correct the column `split`, or hold out a part of each slide with `split: {by: region}`"
        )
    return [entry(row, splits[row.patient]) for row in rows]


def draw_patients(patients: Collection[str], named: Mapping[str, str], options: config.Split) -> dict[str, str]:
    """Train or validation for patients without a split of their own: by a digest of (seed, patient), not by their order."""
    held_out = round(options.validation * (len(patients) + len(named))) - list(named.values()).count("validation")
    least = int(options.validation > 0 and "validation" not in named.values())
    most = len(patients) - int("train" not in named.values())
    held_out = max(0, min(max(held_out, least), most))
    ranked = sorted(patients, key=lambda patient: hashlib.sha256(f"split/{options.seed}/{patient}".encode()).digest())
    return {patient: "validation" if k < held_out else "train" for k, patient in enumerate(ranked)}


def regions(row: SlideRow, options: config.Split, mask: np.ndarray | None = None) -> list[dict]:
    """A slide's left (upper) part trains, its right (lower) part is held out; a slide whose split the table names is whole."""
    if row.split:
        return [entry(row, row.split)]
    side, border = cut_at(np.ones((1, 2), bool) if mask is None else mask, options.validation)
    parts = [entry(row, "train", **{f"{side}_to": border}), entry(row, "validation", **{f"{side}_from": border})]
    return [part for part in parts if part[f"{side}_to"] > part[f"{side}_from"]]


def cut_at(mask: np.ndarray, share: float) -> tuple[str, float]:
    """Where `share` of the tissue is cut off: the side ("x" or "y") and the fraction of it from which on it is held out.

    mask: bool (h, w), where there is tissue (all of it, where there is none). Of the two sides the one serves along which the
    part that is cut off is longer, tissue alone: there larger patches fit.
    """
    if not mask.any():
        mask = np.ones_like(mask)
    found = []
    for side, axis in (("x", 0), ("y", 1)):
        along = mask.sum(axis=axis)
        sums = np.concatenate([[0.0], np.cumsum(along) / along.sum()])
        border = float(np.interp(1 - share, sums, np.arange(len(sums))))
        length = (np.flatnonzero(along)[-1] + 1 - border) if share else 0.0
        found.append((length, side, round(border / len(along), 6)))
    _, side, border = max(found, key=lambda one: one[0])
    return side, {0.0: 1.0, 1.0: 0.0}.get(share, border)


def check_copies(rows: Iterable[SlideRow], entries: list[dict], records: Mapping[str, dict]) -> list[str]:
    """Raises BadInput where a slide and its copy are of two patients or on both sides of the split: a leak.

    records: slide -> its record: `sha256` of the file, and `fingerprint` (`slides.fingerprint`), by which a copy is known
    that was saved again. Returns warnings: copies within one patient and one split, which count twice.
    """
    splits: dict[str, set[str]] = {}
    for item in entries:
        splits.setdefault(item["slide"], set()).add(item["split"])
    rows = [row for row in rows if row.slide in splits]
    problems, warnings = [], []
    for a, b, how in copies([(row.slide, records.get(row.slide, {})) for row in rows]):
        one, other = (next(row for row in rows if row.slide == name) for name in (a, b))
        apart = [f"patients {one.patient} and {other.patient}"] * (one.patient != other.patient)
        apart += [f"splits {', '.join(sorted(splits[a]))} and {', '.join(sorted(splits[b]))}"] * (
            splits[a] != splits[b]
        )
        text = f"slides {a!r} and {b!r} {how}"
        if apart:
            problems.append(f"{text}, and are of {' and '.join(apart)}: remove one, or give both the same patient")
        else:
            warnings.append(f"{text}: they count twice")
    if problems:
        raise BadInput("the same slide would be learnt from and held out:\n" + "\n".join(f"  {p}" for p in problems))
    return warnings


def entry(row: SlideRow, split: str, **part: float) -> dict:
    """One row of splits.tsv; of the whole slide, but for what `part` says."""
    return {"slide": row.slide, "patient": row.patient, "split": split, **PART, **part}


def is_whole(item: dict) -> bool:
    """Whether a row of splits.tsv is of a whole slide."""
    return all(item[key] == value for key, value in PART.items())


def place_of(item: dict) -> str:
    """The part of a slide that a row of splits.tsv is of, in words; empty for the whole."""
    sides = (("x", "width"), ("y", "height"))
    parts = [(item[f"{s}_from"], item[f"{s}_to"], name) for s, name in sides]
    return ", ".join(f"{a:.0%} to {b:.0%} of its {name}" for a, b, name in parts if (a, b) != (0.0, 1.0))


def counted(patients: int) -> str:
    """How many patients there are, in words."""
    return "is one patient" if patients == 1 else f"are {patients} patients, all in one split or in test"


def write_splits(path: Path, entries: list[dict]) -> None:
    """Write splits.tsv, whole or not at all."""
    write_rows(path, COLUMNS, ({**PART, **item} for item in entries), delimiter="\t")


def read_splits(path: Path) -> list[dict]:
    """Read splits.tsv, the parts as floats (a table without y_from, y_to is of whole heights). Raises BadInput for a file
    that lacks a column."""
    with open(path, newline="") as file:
        entries = list(csv.DictReader(file, delimiter="\t"))
    try:
        if not all({"slide", "patient", "split", "x_from", "x_to"} <= set(item) for item in entries):
            raise KeyError
        return [{**item, **{key: float(item.get(key, whole)) for key, whole in PART.items()}} for item in entries]
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{path}: is no split table: columns {', '.join(COLUMNS)}; delete it and run again") from None
