"""What a reader study asks, and its key: what readers receive holds no truth, and the truth cannot be changed unseen.

A question's id is a digest of its truth and of a secret that the key alone has. So the page may name its questions by their
ids, nobody finds the truth by trying, and a truth that was changed afterwards no longer has its question's id.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["certainty", "pick", "class", "origin", "rate"]
REAL, GENERATED = "real", "generated"
LEFT, RIGHT = "left", "right"
FORMAT = 1
ID = 16  # hex digits
CERTAINTY = (
    "certainly real",
    "probably real",
    "perhaps real",
    "perhaps synthetic",
    "probably synthetic",
    "certainly synthetic",
)
SCALES = {  # Son 2023, section 4.1
    "cellularity": "Are the cells realistic for this class?",
    "atypia": "Are the abnormalities, if any, realistic for this class?",
    "colour": "Is the colour that of a real stain?",
    "overall": "How real is the picture as a whole?",
}
RATINGS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Part:
    """Questions of one kind: `ask` is what each of them asks; `options` the values to choose from, each with its words."""

    name: str
    kind: Kind
    title: str
    ask: str
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """pictures: of one or two (left, right), as indices into the study's pictures. truth: the right answer's value, or for
    `rate` nothing to be right. strata: what answers are counted apart by (class, mpp). about: where the pictures are from."""

    part: str
    pictures: tuple[int, ...]
    truth: str
    text: str = ""
    strata: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def secret_of(seed: int, digests: Iterable[str]) -> str:
    """What orders, sides and names are sampled from: the seed, and the pixels before anything was made equal, which readers
    never receive. 32 hex digits."""
    return hashlib.sha256(json.dumps([seed, sorted(digests)]).encode()).hexdigest()[:32]


def rng_of(secret: str, what: str) -> random.Random:
    return random.Random(f"{secret}/{what}")


def question_id(secret: str, n: int, kind: str, question: dict[str, Any]) -> str:
    """n: its number in the key; kind: of its part; question: with part, truth, strata."""
    told = [secret, n, question["part"], kind, question["truth"], question["strata"]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:ID]


def study_id(ids: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:ID]


def make_key(name: str, run: str, secret: str, parts: list[Part], questions: list[Question]) -> dict[str, Any]:
    """What stays with who asks: every question with its id and truth; `study` names them all."""
    kinds, rows = {part.name: part.kind for part in parts}, []
    for n, question in enumerate(questions):
        row = {key: value for key, value in asdict(question).items() if key not in ("pictures", "text")}
        rows.append({"id": question_id(secret, n, kinds[question.part], row), **row})
    about = {"format": FORMAT, "name": name, "run": run, "study": study_id(row["id"] for row in rows), "secret": secret}
    return about | {"parts": [asdict(part) for part in parts], "questions": rows}
