"""What readers sent back, and the key that it is joined with: what cannot be used is named, the rest is used."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from histogenesis.core.errors import BadInput
from histogenesis.study.questions import FORMAT, RATINGS, SCALES, question_id, study_id

ANSWERS_FORMAT = "histogenesis reader answers"
ANSWERS_END = "end"


@dataclass
class Key:
    """questions: those whose truth is as it was when the study was made, by id. changed: ids of the others; problems: a line
    for each of them."""

    study: str
    name: str
    kinds: dict[str, str]
    titles: dict[str, str]
    options: dict[str, list[str]]
    questions: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


@dataclass
class Reader:
    """values: question id -> what was answered; a rating of scales is {scale: 1 to 5}."""

    code: str
    file: Path
    values: dict[str, Any]
    seconds: dict[str, float]
    comment: str = ""


def read_key(path: Path) -> Key:
    """Raises BadInput for a file that is no key, or whose questions are all changed."""
    try:
        found = json.loads(Path(path).read_text())
        kinds = {part["name"]: part["kind"] for part in found["parts"]}
        rows, secret = found["questions"], found["secret"]
        ids = [question_id(secret, n, kinds[row["part"]], row) for n, row in enumerate(rows)]
        study, name = found["study"], found["name"]
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; give the key.json that was made with the study") from None
    except (ValueError, KeyError, TypeError):
        raise BadInput(
            f"{path}: is no key of a reader study, or is cut off; take the key.json that was made with it"
        ) from None
    if found.get("format") != FORMAT:
        raise BadInput(
            f"{path}: its format is {found.get('format')!r}, not {FORMAT}: make the study again with this version"
        )
    key = Key(study, name, kinds, {}, {}, {}, found.get("notes", []))
    for part in found["parts"]:
        key.titles[part["name"]], key.options[part["name"]] = part["title"], list(part["options"])
    for n, (row, own) in enumerate(zip(rows, ids), start=1):
        if row["id"] == own:
            key.questions[own] = row
        else:
            key.changed.add(row["id"])
            key.problems.append(
                f"{path}: question {n} ({row['id']}) was changed since the study was made: it is left out"
            )
    if not key.questions:
        raise BadInput(
            f"{path}: every question was changed since the study was made; take the key.json that was made with it"
        )
    if study_id(row["id"] for row in rows) != study:
        key.problems.append(f"{path}: questions were added or taken away since the study was made")
    return key


def read_answers(paths: Iterable[Path], key: Key) -> tuple[list[Reader], list[str]]:
    """The readers that can be analysed, by their codes, and a line for each file or answer that cannot."""
    problems: list[str] = []
    found: dict[str, list[Reader]] = {}
    for path in sorted(paths):
        try:
            reader = _read(path, key, problems)
        except BadInput as error:
            problems.append(str(error))
            continue
        found.setdefault(reader.code.casefold(), []).append(reader)
    readers = [one for same in found.values() if (one := _one_of(same, problems))]
    for reader in readers:
        open_ones = [q for q in key.questions if not answered(key, q, reader)]
        if open_ones:
            problems.append(
                f"{reader.file}: {len(open_ones)} of {len(key.questions)} questions are not answered; the rest counts"
            )
    return sorted(readers, key=lambda reader: reader.code), problems


def answered(key: Key, question: str, reader: Reader) -> bool:
    value = reader.values.get(question)
    if key.kinds[key.questions[question]["part"]] == "rate":
        return isinstance(value, dict) and set(value) == set(SCALES)
    return value is not None


def _read(path: Path, key: Key, problems: list[str]) -> Reader:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; it is left out") from None
    except ValueError:
        raise BadInput(
            f"{path}: is cut off, or no file of answers: ask the reader to save it again; it is left out"
        ) from None
    if (
        not isinstance(found, dict)
        or found.get("format") != ANSWERS_FORMAT
        or not isinstance(found.get("answers"), dict)
    ):
        raise BadInput(f"{path}: is no file of answers; it is left out")
    if found.get("end") != ANSWERS_END:
        raise BadInput(f"{path}: is cut off: ask the reader to save it again; it is left out")
    if found.get("study") != key.study:
        raise BadInput(f"{path}: is of another study ({found.get('study')}, not {key.study}); it is left out")
    if not found.get("agreed"):
        raise BadInput(f"{path}: the reader has not agreed to take part; it is left out")
    values, seconds, unknown = {}, {}, 0
    for question, answer in found["answers"].items():
        value = answer.get("value") if isinstance(answer, dict) else None
        if question in key.changed:
            continue
        if question not in key.questions or not _allowed(key, question, value):
            unknown += 1
            continue
        values[question] = value
        seconds[question] = float(answer.get("seconds") or 0)
    if unknown:
        problems.append(
            f"{path}: {unknown} answer(s) to no question of the study, or of no value that it offers, are left out"
        )
    return Reader(str(found.get("reader") or path.stem), path, values, seconds, str(found.get("comment") or ""))


def _allowed(key: Key, question: str, value: Any) -> bool:
    part = key.questions[question]["part"]
    if key.kinds[part] == "rate":
        return isinstance(value, dict) and all(scale in SCALES and mark in RATINGS for scale, mark in value.items())
    return isinstance(value, str) and value in key.options[part]


def _one_of(same: list[Reader], problems: list[str]) -> Reader | None:
    """One reader's file of several: the fullest, where the others are earlier states of it; else none counts."""
    fullest = max(same, key=lambda reader: len(reader.values))
    others = [reader for reader in same if reader is not fullest]
    if not others:
        return fullest
    names = ", ".join(reader.file.name for reader in same)
    if all(reader.values.items() <= fullest.values.items() for reader in others):
        problems.append(
            f"{fullest.file}: reader {fullest.code} is there more than once ({names}): the fullest file counts"
        )
        return fullest
    problems.append(
        f"{fullest.file}: reader {fullest.code} is there more than once, with different answers ({names}): none of them counts;"
        " keep one, or give each reader a code"
    )
    return None
