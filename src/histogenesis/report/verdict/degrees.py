"""Each number against its scale: worse than real tissue is against itself, within that, or unknown. Never a bare fact.

The scale of a row of metrics.json runs from its floor (two halves of one population of real patches; where there are
patients enough, two groups of patients, which differ by more) to its ceiling (real tissue with its structure taken away).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from histogenesis.report.blocks import number_text
from histogenesis.report.verdict.rules import FAR, KINDS, MORPHOLOGY, NEAR, SEAM_P, VITAL

Word = Literal["within", "worse", "unknown"]


@dataclass(frozen=True)
class Degree:
    """`share`: how much of the way from what real tissue reaches against itself (0: no more than that) to the ceiling, None
    where there is no ceiling beyond it. `far`: worse, and more than half of that way. `why`: the reason, in words that stand
    after a colon or in brackets."""

    word: Word
    share: float | None
    why: str

    @property
    def far(self) -> bool:
        return self.word == "worse" and self.share is not None and self.share >= FAR

    @property
    def near(self) -> bool:
        """Nothing seen, though there may be no interval to say how surely."""
        return self.word == "within" or (self.word == "unknown" and self.share is not None and self.share < NEAR)


def degree(row: Mapping[str, Any]) -> Degree:
    """Of one row of metrics.json.

    unknown   no value, no floor, an encoder that does not speak, or no interval and less than half-way to the ceiling
    worse     the interval lies beyond the real one; or there is none, and the value is half-way to the ceiling or more. What a
              pathologist measures differs from slide to slide, and structureless noise is no measure of that: without an
              interval only cells that are missing are worse
    within    the intervals meet, and the value's ends before half-way to the ceiling; else it is too wide to say. But for what
              a pathologist measures, a ceiling beyond the floor must show that a lack of structure would have been seen

    Seams have a test of their own: worse where it says so, and real slides under the same grid have none.
    """
    if _number(row, "value") is None:
        return Degree("unknown", None, str(row.get("note") or "not measured"))
    if row.get("speaks") is False:
        return Degree("unknown", None, f"{row.get('encoder') or 'the encoder'} does not see structure here")
    if kind_of(row) == "seams" and (p := _number(row, "p")) is not None:
        return _seam(p, _number(row, "floor_p"))
    sign = -1.0 if row.get("better") == "higher" else 1.0
    value, low, high = _ordered(row, sign, "value", "low", "high")
    floor, _, floor_high = _ordered(row, sign, "floor", "floor_low", "floor_high")
    if value is None or floor is None:
        return Degree("unknown", None, str(row.get("note") or "no floor to compare it with"))
    limit = floor if floor_high is None else floor_high
    patients, _, patients_high = _ordered(row, sign, "patients", "patients_low", "patients_high")
    limit = max(limit, *(end for end in (limit, patients, patients_high) if end is not None))
    share = _share(row, sign, value, limit)
    if low is None or high is None:
        why = str(row.get("interval") or "no interval")
        beyond = share is not None and share >= FAR if kind_of(row) != "morphology" else value > limit and _missing(row)
        return Degree("worse" if beyond else "unknown", share, why)
    if low > limit:
        return Degree("worse", share, _beside(row))
    end = _share(row, sign, high, limit)
    if end is not None and end >= FAR:
        return Degree("unknown", share, "the interval is too wide to say")
    if share is None and kind_of(row) != "morphology":
        return Degree("unknown", None, "nothing shows that it would see a lack of structure")
    return Degree("within", share, _beside(row))


def kind_of(row: Mapping[str, Any]) -> str:
    return str(row.get("kind") or KINDS.get(str(row.get("name", "")), ""))


def _seam(p: float, floor_p: float | None) -> Degree:
    if p >= SEAM_P:
        return Degree("within", None, f"p = {number_text(p)}")
    if floor_p is not None and floor_p >= SEAM_P:
        return Degree("worse", None, f"p = {number_text(p)}, real slides {number_text(floor_p)}")
    return Degree("unknown", None, "real slides under the same grid show as much")


def _missing(row: Mapping[str, Any]) -> bool:
    """Whether a vital measure is so far down on the generated side that it is called missing."""
    real, generated = _number(row, "real"), _number(row, "generated")
    words = MORPHOLOGY.get(str(row.get("name"))) if row.get("name") in VITAL else None
    return words is not None and None not in (real, generated) and words.say(real, generated) == words.missing


def _share(row: Mapping[str, Any], sign: float, value: float, limit: float) -> float | None:
    """Of the way from all that real patches reach to the ceiling; None without a ceiling beyond that."""
    ceiling = (row.get("ceilings") or {}).get("phase")
    if not isinstance(ceiling, int | float) or sign * ceiling <= limit:
        return None
    return max(0.0, (value - limit) / (sign * ceiling - limit))


def _ordered(row: Mapping[str, Any], sign: float, value: str, low: str, high: str) -> tuple[float | None, ...]:
    """Value and its two ends such that more is always worse."""
    v, a, b = (_number(row, name) for name in (value, low, high))
    if sign < 0:
        a, b = b, a
    return tuple(None if one is None else sign * one for one in (v, a, b))


def _number(row: Mapping[str, Any], name: str) -> float | None:
    found = row.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


def _beside(row: Mapping[str, Any]) -> str:
    text = f"{number_text(row['value'])}, real against real {number_text(row['floor'])}"
    ceiling = (row.get("ceilings") or {}).get("phase")
    return text + (f", without structure {number_text(ceiling)}" if isinstance(ceiling, int | float) else "")
