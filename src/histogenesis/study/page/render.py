"""The page of a reader study as text, filled from study.html, study.css and study.js beside this file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from histogenesis.recipe.reading import ReaderStudy
from histogenesis.study.compose import Composed
from histogenesis.study.questions import SCALES, Question
from histogenesis.study.slide_tiles import TILE_PX, DeepSlide

HERE = Path(__file__).parent
WELCOME = (
    "You will see pictures of tissue and answer a few questions about each. There are no trick questions, and nobody can look"
    " up the answers on this page.",
    "Take the time that you need. You may go back and change an answer, close the page and go on later in the same browser.",
)
CIRCLE = '<circle cx="100" cy="100" r="60" fill="#7a5ea8"/>'
SQUARE = '<rect x="45" y="45" width="110" height="110" fill="#7a5ea8"/>'


def page(section: ReaderStudy, composed: Composed, key: dict[str, Any], shown: list[Any], library: str) -> str:
    """The page's text. It is told of each question its id, words and pictures, and nothing of the key. library: the file of
    OpenSeadragon beside it, where there are whole slides."""
    parts = []
    for part in composed.parts:
        rows = zip(composed.questions, key["questions"])
        mine = [asked(question, row["id"], shown) for question, row in rows if question.part == part.name]
        about = {"name": part.name, "kind": part.kind, "title": part.title, "ask": part.ask, "options": part.options}
        scales = {"scales": SCALES} if part.kind == "rate" else {}
        questions = sorted(mine, key=lambda one: one["id"])  # by what looks random to everybody
        parts.append(
            {**about, **scales, "practice": practice(part.kind, part.options, bool(library)), "questions": questions}
        )
    data = {
        "study": key["study"],
        "title": section.title,
        "consent": section.consent,
        "welcome": WELCOME,
        "parts": parts,
    }
    text = (HERE / "study.html").read_text(encoding="utf-8")
    script = f'<script src="{library}"></script>' if library else ""
    data_text = json.dumps(data).replace("<", "\\u003c")
    for place, content in (
        ("/*STYLE*/", (HERE / "study.css").read_text(encoding="utf-8")),
        ("<!--LIBRARY-->", script),
        ("/*SCRIPT*/", (HERE / "study.js").read_text(encoding="utf-8")),
        ("/*DATA*/", data_text),
    ):
        text = text.replace(place, content, 1)
    return text


def asked(question: Question, number: str, shown: list[Any]) -> dict[str, Any]:
    pictures = [shown[n] for n in question.pictures]
    found: dict[str, Any] = {"id": number}
    found |= {"text": question.text} if question.text else {}
    return found | ({"deep": pictures[0]} if isinstance(pictures[0], dict) else {"pictures": pictures})


def deep_facts(slide: DeepSlide, name: str) -> dict[str, Any]:
    height, width = slide.size_px
    return {"name": name, "width": width, "height": height, "tile": TILE_PX, "last": slide.last, "mpp": slide.mpp}


def data_url(file: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(file).decode()}"


def drawing(shape: str) -> str:
    glass = '<rect width="200" height="200" fill="#f3f3f3"/>'
    size = 'width="400" height="400" viewBox="0 0 200 200"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{glass}{shape}</svg>'
    return data_url(svg.encode(), "image/svg+xml")


def practice(kind: str, options: dict[str, str], deep: bool) -> dict[str, Any]:
    """A question about a circle and a square, answered as those of the part; it says nothing of tissue."""
    if kind == "pick":
        about = {"text": "Which picture shows a circle?", "right": "right"}
        return {"id": "practice", "pictures": [drawing(SQUARE), drawing(CIRCLE)], **about}
    if kind == "rate":
        about = {"text": "Rate this drawing in any way you like, to see how it works."}
        return {"id": "practice", "pictures": [drawing(CIRCLE)], **about}
    if kind == "certainty":
        words = [words.replace("real", "a circle").replace("synthetic", "a square") for words in options.values()]
        own = {"options": dict(zip(options, words)), "right": next(iter(options))}
        own["text"] = "Is this a circle or a square? Zoom in and out as you like."
    else:
        own = {"options": {"circle": "a circle", "square": "a square"}, "right": "circle"}
        own["text"] = "What does this picture show?"
    return {
        "id": "practice",
        **own,
        **({"deep": {"image": drawing(CIRCLE)}} if deep else {"pictures": [drawing(CIRCLE)]}),
    }
