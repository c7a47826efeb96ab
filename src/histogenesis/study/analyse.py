"""Answers and key joined: what readers can tell, part by part, with intervals, tests and agreement; as JSON, CSV and a picture.

Positive is what was made by a computer: sensitivity is the share of synthetic pictures that were called so, specificity that of
real ones. As in URCDM's table, TP counts right answers and FP wrong ones, and p = FP / (TP + FP).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from histogenesis.core.files import write_json
from histogenesis.study.agreement import agreement
from histogenesis.study.answers import Key, Reader, read_answers, read_key
from histogenesis.study.certainty import auc_of_reader, auc_of_readers
from histogenesis.study.questions import CERTAINTY, GENERATED, RATINGS, REAL, SCALES
from histogenesis.study.scores import resampled, share, weighted_mae

SYNTHETIC_FROM = len(CERTAINTY) // 2 + 1  # a degree of certainty from here on says: synthetic


def analyse(key: Key, readers: Sequence[Reader]) -> dict[str, Any]:
    """Every part of a study that somebody has answered."""
    parts = []
    for name, kind in key.kinds.items():
        questions = [row for row in key.questions.values() if row["part"] == name]
        if questions:
            about = {"part": name, "kind": kind, "title": key.titles[name], "questions": len(questions)}
            parts.append(
                about | (rated(questions, readers) if kind == "rate" else judged(key, name, kind, questions, readers))
            )
    minutes = [sum(reader.seconds.values()) / 60 for reader in readers]
    times = [{"reader": reader.code, "minutes": round(m, 1)} for reader, m in zip(readers, minutes)]
    return {
        "study": key.study,
        "name": key.name,
        "readers": len(readers),
        "parts": parts,
        "times": times,
        "notes": key.notes,
    }


def right(kind: str, truth: str, value: str) -> bool:
    if kind == "certainty":
        return (int(value) >= SYNTHETIC_FROM) == (truth == GENERATED)
    return value == truth


def judged(key: Key, name: str, kind: str, questions: Sequence[dict], readers: Sequence[Reader]) -> dict[str, Any]:
    """Of questions that have a right answer. Chance is one in as many as there are to choose from; certainty is one of two."""
    chance = 1 / len(key.options[name]) if kind == "class" else 0.5
    answers = np.array([[reader.values.get(row["id"]) for row in questions] for reader in readers], object)
    answers = answers.reshape(len(readers), len(questions))
    table = np.full(answers.shape, np.nan)
    for (i, j), value in np.ndenumerate(answers):
        if value is not None:
            table[i, j] = right(kind, questions[j]["truth"], value)
    counts = [(int(np.nansum(row)), int((row == 0).sum())) for row in table]
    rows = [
        reader_row(reader, kind, row, given, questions, chance) for reader, row, given in zip(readers, table, answers)
    ]
    pooled = share(sum(c[0] for c in counts), sum(map(sum, counts)), chance)
    ends = {by: resampled(table, by) for by in ("reader", "case", "both")}
    found: dict[str, Any] = {
        "by_reader": rows,
        "pooled": asdict(pooled) | {f"by_{by}": interval for by, interval in ends.items()},
        "weighted_mae": weighted_mae(counts) if pooled.n else None,
        "mean_over_readers": mean_test([row["value"] for row in rows if row["n"]], chance),
        "by_stratum": strata(questions, table, chance),
        "agreement": agreement(called(kind, answers), options_of(kind, key.options[name])),
    }
    if kind == "certainty":
        positive = np.array([row["truth"] == GENERATED for row in questions])
        ratings = np.array([[np.nan if v is None else float(v) for v in row] for row in answers]).reshape(answers.shape)
        found["auc"] = asdict(auc_of_readers(ratings, positive))
        found["ratings"] = {"truth": [row["truth"] for row in questions], "given": [list(row) for row in answers]}
    return found


def reader_row(
    reader: Reader, kind: str, row: np.ndarray, given, questions: Sequence[dict], chance: float
) -> dict[str, Any]:
    good, bad = int(np.nansum(row)), int((row == 0).sum())
    found = {"reader": reader.code, "tp": good, "fp": bad, **asdict(share(good, good + bad, chance)), "p_exact": None}
    found["p_exact"] = found.pop("p")
    wrong = bad / (good + bad) if good + bad else None
    found |= {"p": wrong, "off_half": abs(wrong - 0.5) if wrong is not None else None}
    if kind in ("certainty", "origin"):
        for name, truth in (("sensitivity", GENERATED), ("specificity", REAL)):
            own = np.array([q["truth"] == truth for q in questions])
            found[name] = asdict(share(int(np.nansum(row[own])), int(np.isfinite(row[own]).sum())))
    if kind == "certainty":
        rating = np.array([np.nan if v is None else float(v) for v in given])
        found["auc"] = asdict(auc_of_reader(rating, np.array([q["truth"] == GENERATED for q in questions])))
    return found


def mean_test(values: Sequence[float], chance: float) -> dict[str, float | None]:
    """The mean of the readers' shares, and Student's interval and test over readers, which holds for other readers too."""
    if not values:
        return {"value": None, "low": None, "high": None, "p": None}
    mean, n = float(np.mean(values)), len(values)
    if n < 3:
        return {"value": mean, "low": None, "high": None, "p": None}
    error = float(np.std(values, ddof=1)) / n**0.5
    half = float(t.ppf(0.975, n - 1)) * error
    p = 2 * float(t.sf(abs(mean - chance) / error, n - 1)) if error else (1.0 if mean == chance else 0.0)
    return {"value": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half), "p": p}


def strata(questions: Sequence[dict], table: np.ndarray, chance: float) -> list[dict[str, Any]]:
    """The same for each class, magnification, or real and generated ones of a class."""
    names = [", ".join(f"{k} {v}" for k, v in row["strata"].items()) or f"is {row['truth']}" for row in questions]
    found = []
    for name in sorted(set(names), key=natural):
        own = table[:, [one == name for one in names]]
        about = asdict(share(int(np.nansum(own)), int(np.isfinite(own).sum()), chance))
        found.append(
            {"stratum": name, **about, "by_reader": resampled(own, "reader"), "by_case": resampled(own, "case")}
        )
    return found


def natural(name: str) -> tuple:
    last = name.rsplit(" ", 1)[-1]
    try:
        return (0, float(last), name)
    except ValueError:
        return (1, 0.0, name)


def called(kind: str, answers: np.ndarray) -> np.ndarray:
    """Answers that agreement is counted of: of certainties, on which side they are."""
    if kind != "certainty":
        return answers
    sides = [[None if v is None else (GENERATED if int(v) >= SYNTHETIC_FROM else REAL) for v in row] for row in answers]
    return np.array(sides, object).reshape(answers.shape)


def options_of(kind: str, options: Sequence[str]) -> Sequence[str]:
    return (REAL, GENERATED) if kind == "certainty" else options


def rated(questions: Sequence[dict], readers: Sequence[Reader]) -> dict[str, Any]:
    """Likert means of each class and scale, with Student's interval over readers' own means, and how the marks are spread."""
    rows = []
    for label in sorted({row["strata"].get("class", "") for row in questions}):
        own = [row["id"] for row in questions if row["strata"].get("class", "") == label]
        for scale in SCALES:
            marks = [[reader.values[q][scale] for q in own if scale in reader.values.get(q, {})] for reader in readers]
            flat = [mark for one in marks for mark in one]
            if not flat:
                continue
            means = [float(np.mean(one)) for one in marks if one]
            row = {
                "class": label,
                "scale": scale,
                "n": len(flat),
                "mean": float(np.mean(flat)),
                "low": None,
                "high": None,
            }
            if len(means) > 2:
                half = float(t.ppf(0.975, len(means) - 1)) * float(np.std(means, ddof=1)) / len(means) ** 0.5
                row |= {"low": max(1.0, row["mean"] - half), "high": min(5.0, row["mean"] + half)}
            rows.append(row | {"marks": {str(mark): flat.count(mark) for mark in RATINGS}})
    return {"ratings": rows}


# ------------------------------------------------------------------------------------------------ files


def analyse_files(key_json: Path, answers: Iterable[Path], out: Path) -> dict[str, Any]:
    """Write analysis.json, answers.csv, readers.csv and analysis.png under `out`; returns what analysis.json says.

    Raises BadInput for a key that cannot be used at all; other problems are lines in `problems`.
    """
    from histogenesis.study.plots import draw_analysis

    key = read_key(key_json)
    readers, problems = read_answers(answers, key)
    found = analyse(key, readers) | {"problems": key.problems + problems}
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "answers.csv", list(answer_rows(key, readers)))
    _write(out / "readers.csv", list(reader_rows(found)))
    draw_analysis(found, out / "analysis.png")
    write_json(out / "analysis.json", found)
    return found


def answer_rows(key: Key, readers: Sequence[Reader]) -> Iterable[dict[str, Any]]:
    """A row for every answer; of a rating, for every scale."""
    for reader in readers:
        for question, value in reader.values.items():
            row = key.questions[question]
            kind = key.kinds[row["part"]]
            about = {"reader": reader.code, "part": row["part"], "question": question}
            about |= {"stratum": ", ".join(f"{k} {v}" for k, v in row["strata"].items()), "truth": row["truth"]}
            seconds = {"seconds": reader.seconds[question]}
            if kind == "rate":
                for scale, mark in value.items():
                    yield about | {"scale": scale, "answer": mark, "right": ""} | seconds
            else:
                yield about | {"scale": "", "answer": value, "right": int(right(kind, row["truth"], value))} | seconds


def reader_rows(found: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for part in found["parts"]:
        for row in part.get("by_reader", []):
            flat = {"part": part["part"]}
            for name, value in row.items():
                flat |= {f"{name}_{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
            yield flat


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["reader"]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
