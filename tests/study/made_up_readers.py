"""Reader studies of made-up questions, and files of answers to them, as a page saves them."""

import json
from pathlib import Path

from histogenesis.study.answers import ANSWERS_END, ANSWERS_FORMAT
from histogenesis.study.questions import CERTAINTY, GENERATED, REAL, SCALES, Part, Question, make_key, secret_of

SIDES = {"left": "the left one", "right": "the right one"}
CERTAIN = {str(n): words for n, words in enumerate(CERTAINTY, start=1)}


def slides_key(each: int = 20) -> dict:
    part = Part("slides", "certainty", "Whole slides", "Real?", CERTAIN)
    kinds = [REAL, GENERATED] * each
    return make_key(
        "harb", "made-up", secret_of(1, ["a"]), [part], [Question("slides", (n,), k) for n, k in enumerate(kinds)]
    )


def pairs_key(n: int) -> dict:
    part = Part("pairs", "pick", "Pairs", "Which?", SIDES)
    rows = [
        Question("pairs", (0, 1), ("left", "right")[k % 2], "", {"mpp": "8" if k < n // 2 else "0.5"}) for k in range(n)
    ]
    return make_key("pairs", "made-up", secret_of(1, ["b"]), [part], rows)


def survey_key() -> dict:
    """Son's: 4 + 4 + 4 + 4 questions, and one rated picture of each class."""
    two = ("+", "-")
    parts = [
        Part("match-class", "pick", "1", "", SIDES),
        Part("name-class", "class", "2", "", {"+": "cancerous", "-": "not"}),
        Part("pick-generated", "pick", "3", "", SIDES),
        Part("origin", "origin", "4", "", {REAL: "real", GENERATED: "generated"}),
        Part("rate", "rate", "5", ""),
    ]
    rows = [Question("match-class", (0, 1), "left", strata={"class": two[k % 2]}) for k in range(4)]
    rows += [Question("name-class", (0,), two[k % 2], strata={"class": two[k % 2]}) for k in range(4)]
    rows += [Question("pick-generated", (0, 1), "right", strata={"class": two[k % 2]}) for k in range(4)]
    rows += [Question("origin", (0,), k, strata={"class": c, "is": k}) for k in (REAL, GENERATED) for c in two]
    rows += [Question("rate", (0,), GENERATED, strata={"class": c}) for c in two]
    return make_key("son", "made-up", secret_of(1, ["c"]), parts, rows)


def save(folder: Path, key: dict, code: str, values: dict, **changed) -> Path:
    """values: question id -> value."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"format": ANSWERS_FORMAT, "version": 1, "study": key["study"], "reader": code, "agreed": True}
    found |= {
        "answers": {q: {"value": v, "seconds": 2.5} for q, v in values.items()},
        "comment": "",
        "end": ANSWERS_END,
    }
    path = folder / f"answers-{code}.json"
    path.write_text(json.dumps(found | changed))
    return path


def save_key(folder: Path, key: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.json").write_text(json.dumps(key))
    return folder / "key.json"


def answers_by(key: dict, choose) -> dict:
    """choose(question, n) -> value, for each question of the key."""
    return {row["id"]: choose(row, n) for n, row in enumerate(key["questions"])}


def marks(each: dict) -> dict:
    return {scale: each[scale] for scale in SCALES}
