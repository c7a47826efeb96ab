"""Given vectors of classes, from a file: what a model is told of a class in place of a vector that it learns."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput


def read_label_embeddings(file: Path, classes: Sequence[str], width: int) -> np.ndarray:
    """The classes' vectors, float32 (classes, width), in their order. file: CSV, a class and its numbers in each row.

    Raises BadInput where the file is not there, lacks a class, names one twice, or has not `width` finite numbers for one.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            rows = [row for row in csv.reader(text) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{file}: not to be read as CSV ({error})") from None
    found: dict[str, list[str]] = {}
    for row in rows:
        if row[0].strip() in found:
            raise BadInput(f"{file}: class {row[0].strip()!r} is there twice; leave one row of it")
        found[row[0].strip()] = row[1:]
    absent = [label for label in classes if label not in found]
    if absent:
        raise BadInput(f"{file}: no row for class {', '.join(absent)}; it has {', '.join(found) or 'none'}")
    return np.array([numbers(file, label, found[label], width) for label in classes], np.float32).reshape(-1, width)


def numbers(file: Path, label: str, values: list[str], width: int) -> np.ndarray:
    if len(values) != width:
        raise BadInput(f"{file}: class {label!r} has {len(values)} numbers, and `width` is {width}; make them alike")
    try:
        vector = np.array(values, float)
    except ValueError as error:
        raise BadInput(f"{file}: class {label!r}: {error}") from None
    if not np.isfinite(vector).all() or not vector.any():
        raise BadInput(f"{file}: class {label!r} has a number that is not finite, or none but zeros")
    return vector
