"""Sentences on how much like tissue the patches look: condition of the slides, distances, cells, colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from histogenesis.report.blocks import Statement, Status, count_text, number_text
from histogenesis.report.found import Run
from histogenesis.report.verdict import rules
from histogenesis.report.verdict.degrees import Degree, degree, kind_of

Rows = list[tuple[dict, Degree]]
TOLD_APART: dict[str, Status] = {"worse": "look", "within": "good", "unknown": "open"}


def at(mpps: Iterable[float]) -> str:
    """ "at 2, 1 and 0.5 mpp" """
    *most, last = [f"{mpp:g}" for mpp in sorted(set(mpps), reverse=True)]
    return f"at {', '.join(most)} and {last} mpp" if most else f"at {last} mpp"


def likeness(run: Run) -> Iterator[Statement]:
    """One sentence on all distances together, each resolution by the middle of its numbers; the classifier's beside it."""
    by_mpp: dict[float, Rows] = defaultdict(list)
    for row in run.metrics:
        if isinstance(row.get("mpp"), int | float) and kind_of(row) in rules.LIKENESS:
            by_mpp[float(row["mpp"])].append((row, degree(row)))
    words = {mpp: _of_resolution(rows) for mpp, rows in by_mpp.items()}
    where = {word: [mpp for mpp, found in words.items() if found == word] for word in set(words.values())}
    status: Status
    if where.get("far"):
        headline, status = "far", "bad"
        text = (
            f"Likeness: more than half as far from real tissue as tissue without any structure is, {at(where['far'])}"
        )
        clause = f"no better than structureless noise would be, or nearly so, {at(where['far'])}"
    elif where.get("worse"):
        headline, status = "worse", "look"
        text = f"Likeness: further from real tissue than real tissue is from itself, {at(where['worse'])}"
        clause = f"differs {at(where['worse'])}"
    elif where.get("within") and not (where.get("near") or where.get("unknown")):
        headline, status, clause = "within", "good", ""
        text = f"Likeness: as close to real tissue as real tissue is to itself, {at(where['within'])}"
    elif where.get("near") or where.get("within"):
        headline, status = "near", "open"
        seen = [*where.get("near", []), *where.get("within", [])]
        text, clause = f"Likeness: nothing was found that tells it from tissue {at(seen)}, but that is not sure", ""
        clause = _unknown(by_mpp, where.get("unknown", []))
    else:
        clause, status = _unknown(by_mpp, words), "open"
        headline = "unsure" if "not sure" in clause else "unknown"
        text, clause = f"Likeness: {clause or 'not measured'}", ""
    shown = next((mpp for word in ("far", "worse", "near", "unknown", "within") for mpp in where.get(word, [])), None)
    if shown is not None:
        text += f" ({_reasons(by_mpp[shown], shown)})"
    yield Statement(status, text + ".", run.metrics_file, "likeness", clause, headline)
    yield from _told_apart(run, [entry for rows in by_mpp.values() for entry in rows])


def _unknown(by_mpp: dict[float, Rows], mpps: Iterable[float]) -> str:
    """What is said where nothing is known: whether there are numbers, though none that is sure, or no number at all."""
    measured = {mpp: any(_speaks(row) for row, _ in by_mpp[mpp]) for mpp in mpps}
    words = {"not sure": True, "not measured": False}
    return "; ".join(
        f"{word} {at(found)}"
        for word, has in words.items()
        if (found := [mpp for mpp in measured if measured[mpp] == has])
    )


def _speaks(row: dict) -> bool:
    return row.get("value") is not None and row.get("speaks") is not False


def _of_resolution(rows: Rows) -> str:
    """far, worse, near, within or unknown, by most of the numbers that say anything; far, if most of each encoder's say so: one
    that sees stains alone puts another patient's further away than noise of the right colours."""
    known = [d for row, d in rows if d.word != "unknown" or d.near]
    if not known:
        return "unknown"
    least = rules.MOST * len(known)
    distances = defaultdict(list)
    for row, d in rows:
        if kind_of(row) != "classifier" and d in known:
            distances[row.get("encoder")].append(d.far)
    if distances and all(sum(far) >= rules.MOST * len(far) for far in distances.values()):
        return "far"
    if sum(d.word == "worse" for d in known) >= least:
        return "worse"
    if len(known) < rules.MOST * sum(row.get("speaks") is not False for row, _ in rows):
        return "unknown"  # a few good numbers beside many that are missing say nothing
    return "within" if sum(d.word == "within" for d in known) >= least else "near"


def _reasons(rows: Rows, mpp: float) -> str:
    """How many numbers of one resolution say what, and one of them."""
    counts = [(word, sum(d.word == word for _, d in rows)) for word in ("worse", "within", "unknown")]
    text = f"{mpp:g} mpp: of {count_text(len(rows), 'number')} " + ", ".join(f"{n} {word}" for word, n in counts if n)
    silent = [d.why for _, d in rows if d.word == "unknown"]
    if silent and not counts[0][1] and not counts[1][1]:
        text += f": {silent[0]}"
    shares = [d.share for _, d in rows if d.share is not None]
    if shares:
        text += (
            f"; the middle one stands at {100 * float(np.median(shares)):.0f} % of the way from real to structureless"
        )
    return text


def _told_apart(run: Run, entries: Rows) -> Iterator[Statement]:
    found = [(row, d) for row, d in entries if kind_of(row) == "classifier" and row.get("value") is not None]
    if not found:
        return
    row, worst = max(found, key=lambda entry: entry[0]["value"])
    status = TOLD_APART[worst.word]
    text = f"Told apart: a classifier trained for it ({row.get('encoder')}) is right on {100 * row['value']:.0f} % of patches"
    text += f" that it has not seen, at {row['mpp']:g} mpp (50 %: guessing"
    if row.get("floor") is not None:
        text += f"; two halves of real patches: {100 * row['floor']:.0f} %"
    yield Statement(status, text + f"): {worst.word} against real tissue.", run.metrics_file)
    if told := [row for row, _ in found if _is_told(row)]:
        most = max(told, key=lambda row: row["value"])
        clause = f"a classifier tells it apart {at(row['mpp'] for row in told)} (right on {100 * most['value']:.0f} %,"
        clause += f" real patients {100 * most['patients']:.0f} %)"
        yield Statement("look", f"Told apart: {clause}.", run.metrics_file, "likeness", clause, "worse")


def _is_told(row: dict) -> bool:
    """Whether a classifier is right on nearly all patches, and tells real patients apart far less well."""
    beside = [row[name] for name in ("floor", "patients") if isinstance(row.get(name), int | float)]
    known = isinstance(row.get("patients"), int | float) and row.get("speaks") is not False
    return known and row["value"] >= max(rules.TOLD, max(beside) + rules.TOLD_BEYOND)


def cells(run: Run) -> Iterator[Statement]:
    """What a pathologist would miss, measure by measure: all that is off, the vital first."""
    yield from _measures(run, rules.MORPHOLOGY, "cells", "Cells and glands", "cells")


def colours(run: Run) -> Iterator[Statement]:
    """Colour by its stains, where these were measured; by the mean colour of the patches otherwise."""
    found = list(_measures(run, rules.COLOURS, "colours", "Colours", ""))
    if any(one.status != "open" for one in found):
        yield from found
        return
    apart = [entry for entry in _colour_distances(run) if entry is not None]
    if apart:
        distance, limit, _ = max(apart, key=lambda entry: entry[0] / entry[1])
        right = distance <= limit
        text = f"Colours: the mean colour lies {distance:.0f} (CIELAB) from the nearest real slide's; up to {limit:.0f} would"
        text += " be a slide like others."
        clause = "colours right" if right else ""  # if it is off, its condition says so
        yield Statement("good" if right else "look", text, run.condition_file, "colours", clause)


def _measures(run: Run, words: dict[str, rules.Words], topic: str, title: str, silent: str) -> Iterator[Statement]:
    rows = [(row, degree(row)) for row in run.metrics if row.get("name") in words and row.get("mpp") is not None]
    spoken = [(row, d) for row, d in rows if d.word != "unknown"]
    if not spoken:
        said = "not known" if any(row.get("value") is not None for row, _ in rows) else "not measured"
        why = f" ({rows[0][1].why})" if rows else ""
        clause = f"{silent} {said}" if silent else ""
        yield Statement("open", f"{title}: {said}{why}.", run.metrics_file if rows else None, topic, clause)
        return
    off: dict[str, list[dict]] = defaultdict(list)
    for row, d in spoken:
        if d.word == "worse":
            off[words[row["name"]].say(row.get("real"), row.get("generated"))].append(row)
    if not off:
        clause = "colours right" if topic == "colours" else "cells as in real tissue"
        text = f"{title}: {count_text(len(spoken), 'measure')} within what real tissue differs by."
        yield Statement("good", text, run.metrics_file, topic, clause)
        return
    parts = {phrase: _beside(phrase, found, words) for phrase, found in off.items()}
    first = sorted(parts, key=lambda phrase: not _vital(phrase, words))
    vital = _vital(first[0], words)
    text = f"{title}: " + "; ".join(parts[phrase] for phrase in first) + "."
    clause = "; ".join(parts[phrase] for phrase in first[:2]) + (f"; {len(first) - 2} more" if len(first) > 2 else "")
    yield Statement("bad" if vital else "look", text, run.metrics_file, topic, clause, "far" if vital else "worse")


def _vital(phrase: str, words: dict[str, rules.Words]) -> bool:
    return any(name in words and words[name].missing == phrase for name in rules.VITAL)


def _beside(phrase: str, rows: list[dict], words: dict[str, rules.Words]) -> str:
    """ "cells are missing at 1 and 0.5 mpp (nuclei 3 per mm2, real 4,100)" """
    row, said = rows[-1], words[rows[-1]["name"]]
    text = f"{phrase} {at(row['mpp'] for row in rows)}"
    if row.get("generated") is None or row.get("real") is None:
        return text
    unit = f" {said.unit}" if said.unit else ""
    return f"{text} ({said.what} {number_text(row['generated'])}{unit}, real {number_text(row['real'])})"


def condition(run: Run) -> Iterator[Statement]:
    """Slides that are empty, of one colour, or of a colour that no real slide has: nothing else matters then."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in run.condition.get("synthetic", []):
        for headline, clause, text in _failures(run.condition["real"], one):
            found[headline].append((clause, text))
    for headline, parts in found.items():
        clause = parts[0][0] + (f", and {len(parts) - 1} more like it" if len(parts) > 1 else "")
        text = f"Condition: {'; '.join(text for _, text in parts[:4])}" + ("; ..." if len(parts) > 4 else ".")
        status: Status = "look" if headline == "worse" else "bad"
        yield Statement(status, text, run.condition_file, "condition", clause, headline)


def _failures(real: dict, one: dict) -> Iterator[tuple[str, str, str]]:
    shares = list(real["tissue"].values())
    if shares and one["tissue"] < rules.LEAST_TISSUE * min(shares):
        known = f"{100 * min(shares):.0f} to {100 * max(shares):.0f} % of the real slides"
        clause = f"{one['slide']} is empty" if not one["tissue"] else f"{one['slide']} is nearly empty"
        yield "empty", clause, f"tissue on {100 * one['tissue']:.1f} % of {one['slide']}, on {known}"
    for level in one["levels"]:
        beside = [other for other in real["levels"] if other["mpp"] == level["mpp"]]
        if not beside:
            continue
        contrast = float(np.median([other["contrast"] for other in beside]))
        where = f"{one['slide']} at {level['mpp']:g} mpp"
        if level["contrast"] < rules.FLAT * contrast:
            text = f"{where} is of one colour (contrast {level['contrast']:.1f}, real patches {contrast:.1f})"
            yield "empty", f"{where} is of one colour", text
        elif level["contrast"] > rules.HARSH * contrast:
            text = f"{where} is {level['contrast'] / contrast:.1f} times as harsh as real patches"
            yield "far", f"{where} is {level['contrast'] / contrast:.1f} times as harsh as tissue", text
        distance, limit = colour_distance(level, beside)
        if distance > limit:
            text = f"the colour of {where} is {distance:.0f} (CIELAB) from the nearest real slide's; usual: {limit:.0f} at most"
            yield "colour" if distance > rules.COLOUR_NEVER else "worse", f"colour off on {where}", text


def colour_distance(level: dict, beside: list[dict]) -> tuple[float, float]:
    """From the nearest real slide, and the limit above which that is no slide like others."""
    lab = np.array([other["lab"] for other in beside])
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    usual = apart.min(axis=1).max() if len(lab) > 1 else 0.0
    distance = float(np.linalg.norm(lab - np.array(level["lab"]), axis=1).min())
    return distance, max(rules.COLOUR_APART, rules.COLOUR_TIMES * float(usual))


def _colour_distances(run: Run) -> Iterator[tuple[float, float, str] | None]:
    for one in run.condition.get("synthetic", []):
        for level in one["levels"]:
            beside = [other for other in run.condition["real"]["levels"] if other["mpp"] == level["mpp"]]
            yield (*colour_distance(level, beside), one["slide"]) if beside else None
