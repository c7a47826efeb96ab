"""What a report is made of: sections of blocks. The template draws each kind of block; sections only say what is in them.

A new section is one function that returns a Section (see sections.py), and no new template code.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

Status = Literal["good", "look", "bad", "fact", "open"]
STATUS_WORDS = {"good": "holds", "look": "look", "bad": "fails", "fact": "fact", "open": "not measured"}


@dataclass(frozen=True)
class Statement:
    """A sentence of the verdict, and the file that its numbers are from. `clause` is what the bottom line says of its `topic`;
    `headline` the first words that it asks for (verdict/rules.py)."""

    status: Status
    text: str
    file: Path | None = None
    topic: str = ""
    clause: str = ""
    headline: str = ""

    kind = "statement"


@dataclass(frozen=True)
class Verdict:
    """Sentences, and before them the one that says it all."""

    statements: Sequence[Statement]
    line: Statement | None = None

    kind = "verdict"
    words = STATUS_WORDS


@dataclass(frozen=True)
class Prose:
    text: str

    kind = "prose"


@dataclass(frozen=True)
class Interval:
    """A value and its interval, drawn on an axis that all intervals of a column share; `reference` is a line in it."""

    low: float
    value: float
    high: float
    axis: tuple[float, float]
    reference: float | None = None

    kind = "interval"

    def at(self, x: float) -> float:
        """Place on the axis, 0 to 100, cut off at its ends."""
        start, end = self.axis
        return round(100 * min(1.0, max(0.0, (x - start) / (end - start))), 2) if end > start else 50.0

    @property
    def words(self) -> str:
        """What the drawing shows, for those who do not see it."""
        text = f"{number_text(self.value)}, interval {number_text(self.low)} to {number_text(self.high)}"
        return text + (f"; line at {number_text(self.reference)}" if self.reference is not None else "")


@dataclass(frozen=True)
class Cell:
    """`sort` is what a column is sorted by, where that is not the text; `patches` the id of a figure (Figure.id)."""

    text: str
    file: Path | None = None
    number: bool = False
    sort: float | str | None = None
    patches: str = ""
    status: str = ""  # a Status: its colour

    kind = "cell"


@dataclass(frozen=True)
class Table:
    """Rows of Cell, Interval, or plain values (numbers are formatted and set to the right). Long tables are folded."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    file: Path | None = None
    fold_over: int = 40

    kind = "table"

    @property
    def name(self) -> str:
        return f"Table: {self.caption.split('. ')[0].split(': ')[0] or self.columns[0]}"

    @property
    def cells(self) -> list[list[Cell | Interval]]:
        return [[cell if isinstance(cell, Cell | Interval) else as_cell(cell) for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    source: str  # data URL
    caption: str
    file: Path | None = None
    label: str = ""
    id: str = ""


@dataclass(frozen=True)
class Figures:
    """Pictures side by side; `size` is how wide each is: "wide", "half", "third", "quarter", "plots". `folded`: the title
    under which they can be unfolded."""

    figures: Sequence[Figure]
    size: str = "third"
    pixelated: bool = False
    folded: str = ""

    kind = "figures"


@dataclass(frozen=True)
class Code:
    text: str
    title: str
    file: Path | None = None

    kind = "code"


Block = Statement | Verdict | Prose | Table | Figures | Code


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


def relative_address(file: Path, folder: Path) -> str:
    """Address of a file for a page that lies in `folder`."""
    return quote(Path(os.path.relpath(Path(file).resolve(), Path(folder).resolve())).as_posix())


def as_cell(value: Any) -> Cell:
    if value is None:
        return Cell("–", number=True, sort="")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(number_text(value), number=True, sort=value)
    return Cell(str(value))


def number_text(value: float | None, digits: int = 3) -> str:
    """A number for reading: `digits` significant ones, thousands set apart, whole numbers in full."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("−∞" if value < 0 else "∞")
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    if abs(value) >= 10**digits:
        return f"{value:,.0f}".replace("-", "−")
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return (text.rstrip("0") if abs(value) < 0.01 else text).replace("-", "−")


def count_text(n: int, one: str, many: str | None = None) -> str:
    """ "1 slide", "1,200 slides", "no slide"."""
    return f"no {one}" if n == 0 else f"{n:,} {one if n == 1 else many or one + 's'}"


def duration_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
