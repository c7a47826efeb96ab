"""Sentences on whether tiles and levels agree."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

from histogenesis.report.blocks import Statement, count_text, number_text
from histogenesis.report.found import Run
from histogenesis.report.verdict import rules


def tiles(run: Run) -> Iterator[Statement]:
    """Steepness across tile borders, both ways where it was measured so; then what encoders see of them."""
    scored = [
        (level["seams"], level, one)
        for one in run.synthetic
        for level in one.coherence.get("levels", [])
        if level.get("seams", {}).get("score") is not None
    ]
    if not scored:
        if any(one.coherence for one in run.synthetic):
            text = "Tiles: no two tiles meet inside tissue, so there is no seam to look for."
            yield Statement("open", text, None, "seams", "seams not measured")
        else:
            yield Statement(
                "open", "Not measured: whether tiles join without seams.", None, "seams", "seams not measured"
            )
        return
    measured = [entry for entry in scored if entry[0]["high"] < rules.WIDE_SEAM or entry[0]["low"] > 1]
    if not measured:
        text = f"Tiles: not measured. Too few tile borders cross tissue to tell a seam; at most {_worst(scored)}."
        yield Statement("open", text, _worst_file(scored), "seams", "seams not measured")
        return
    unmeasured = len(scored) - len(measured)
    scored, n = measured, len(measured)
    steep = [entry for entry in scored if entry[0]["low"] > 1]
    flat = [entry for entry in scored if entry[0].get("kind") == "flat"]
    seen = _seen_by_encoders(run)
    if any(entry[0]["low"] > rules.CLEAR_SEAM for entry in steep):
        text = f"Tiles: seams. On {_of(steep, n)}, tile borders are steeper than other lines; at worst {_worst(steep)}."
        yield Statement("bad", text, _worst_file(steep), "seams", "seams")
    elif flat and _chance(n, len(flat), 0.025) < 0.05:
        text = f"Tiles: blurred seams. On {_of(flat, n)}, tile borders are flatter than other lines; at worst"
        text += f" {_worst(flat, lowest=True)}."
        yield Statement("bad", text, _worst_file(flat), "seams", "blurred seams")
    elif steep and _chance(n, len(steep), 0.025) < 0.05:
        text = f"Tiles: faint seams. On {_of(steep, n)} tile borders are steeper (chance alone gives {0.025 * n:.1f}); at worst"
        yield Statement("look", f"{text} {_worst(steep)}.", _worst_file(steep), "seams", "faint seams")
    else:
        off = len(steep) + len(flat)
        exceptions = f", {off} of {n} slightly off, as chance alone may give" if off else ""
        text = f"Tiles: no seam found{exceptions}. Tile borders are as steep as other lines; the nearest to a seam is"
        if unmeasured:
            exceptions += f" ({count_text(unmeasured, 'level')} more with too few borders to tell)"
        clause = "" if seen else "no seams found"
        yield Statement("good", f"{text} {_worst(scored)}.", _worst_file(scored), "seams", clause)
    if seen:
        text = f"Tiles: to {seen[0]['encoder']}, crops across tile lines differ from crops beside at {seen[0]['mpp']:g} mpp"
        text += f" ({count_text(len(seen), 'test')} of p < {rules.SEAM_P:g} after correction; on real slides none)."
        yield Statement("bad", text, run.metrics_file, "seams", "tiles do not belong together")


def _seen_by_encoders(run: Run) -> list[dict]:
    """Rows of seam_mmd whose permutation test says that there is a seam, and that of real slides says nothing."""
    rows = [row for row in run.metrics if row.get("name") == "seam_mmd" and isinstance(row.get("p"), int | float)]
    rows = [row for row in rows if row.get("speaks") is not False]
    found = [row for row in rows if row["p"] * len(rows) < rules.SEAM_P and (row.get("floor_p") or 0.0) >= rules.SEAM_P]
    return sorted(found, key=lambda row: row["p"])


def _of(found: list, n: int) -> str:
    return f"{len(found)} of {n} measured levels" if n > 1 else "the measured level"


def _worst(found: list, lowest: bool = False) -> str:
    seams, level, one = _entry(found, lowest)
    value = f"{seams['score']:.2f} (95 % interval {seams['low']:.2f} to {seams['high']:.2f})"
    return f"{value} times, level {level['level']} of {one.name}"


def _worst_file(found: list):
    return _entry(found, False)[2].coherence_file


def _entry(found: list, lowest: bool):
    return min(found, key=lambda e: e[0]["high"]) if lowest else max(found, key=lambda e: e[0]["low"])


def _chance(n: int, at_least: int, p: float) -> float:
    """Probability of at_least or more of n by chance."""
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(at_least, n + 1))


def scales(run: Run) -> Iterator[Statement]:
    measured = [
        (level["cross_scale"]["tissue"], level, one)
        for one in run.synthetic
        for level in one.coherence.get("levels", [])
        if level.get("cross_scale") and level["cross_scale"]["tissue"]["mean"] is not None
    ]
    if not measured:
        if not any(one.coherence for one in run.synthetic):
            text = "Not measured: whether the levels show the same tissue."
            yield Statement("open", text, None, "scales", "scales not measured")
        return
    error, level, one = max(measured, key=lambda entry: entry[0]["mean"])
    largest = max(entry[0]["max"] for entry in measured)
    value = f"{number_text(error['mean'], 2)} of 255 grey steps on average"
    where = f"level {level['level']} of {one.name}; {number_text(largest, 2)} in the worst pixel of all"
    if largest <= 1:
        text = f"Scales: each level averages back to the one above it, to rounding (off by {value} at {where})."
        yield Statement("good", text, one.coherence_file, "scales", "scales agree")
    elif error["mean"] <= rules.CLOSE:
        text = f"Scales: each level averages back closely to the one above it (at worst off by {value}, {where})."
        yield Statement("good", text, one.coherence_file, "scales", "scales agree")
    else:
        text = f"Scales: levels depart from the one above them, at worst by {value} ({where})."
        far = error["mean"] > rules.DISTANT
        clause = "levels show different tissue" if far else "levels depart from one another"
        yield Statement("bad" if far else "look", text, one.coherence_file, "scales", clause)
