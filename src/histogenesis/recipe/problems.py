"""What is wrong with a recipe: everything at once, one line each, with the key, its value, the remedy, the nearest right word.

A recipe has problems of values, of sections, and between sections; pydantic looks at these last only where the first are right.
So what can be put right here (a misspelt key or word) is, what cannot is left out, and what remains is looked at again.
Problems that follow from what was left out are not reported.
"""

from __future__ import annotations

import copy
import difflib
import re
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from histogenesis.recipe.base import RENAMED

NAMED = ("models", "patches", "samples")  # sections with names of the recipe's own
ROUNDS = 6  # of looking again; each finds a layer of problems
INNER = re.compile(r"^(levels\[\d+\][^:\s]*|[a-z_]+\.[a-z_.]+): ")  # a place within the section that a message names


class Together:
    """Several checks, none of which ends the others: `with found: check()`, and at last `found.end()`."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> Together:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, KeyError | TypeError | AttributeError):  # of what is not there, as was found before
            return bool(self.lines)
        if isinstance(error, ValueError):
            self.lines += str(error).splitlines()
        return isinstance(error, ValueError)

    def end(self) -> None:
        """Raises ValueError with a line for each check that failed."""
        if self.lines:
            raise ValueError("\n".join(self.lines))


def nearest(word: Any, words: Iterable[str]) -> str | None:
    """The word that was probably meant."""
    found = difflib.get_close_matches(str(word).lower(), {w.lower(): w for w in words}, n=1, cutoff=0.6)
    return next((w for w in words if w.lower() == found[0]), None) if found else None


def absent(what: str, name: str, names: Iterable[str]) -> str:
    """There is no `name`, and what there is."""
    there, meant = sorted(names), nearest(name, names)
    return f"no {what} {name!r}; " + (f"did you mean {meant!r}? " if meant else "") + f"there are {there}"


class Problem(NamedTuple):
    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path or '(whole recipe)'}: {self.what}"


def problems_of(recipe: type[BaseModel], values: Mapping[str, Any]) -> tuple[BaseModel | None, list[Problem]]:
    """The recipe, if there is none; and all problems that `values` have."""
    found: dict[Problem, None] = {}
    left_out: set[str] = set()
    values = copy.deepcopy(dict(values))
    for _ in range(ROUNDS):
        try:
            whole = recipe.model_validate(values)
            return (None if found else whole), list(found)
        except ValidationError as error:
            problems = error.errors(include_url=False)
        own = [p for p in problems if p["loc"]]
        for problem in problems:
            for one in in_words(recipe, problem, values):
                if not follows(one, left_out):
                    found[one] = None
        if not own:
            break
        ways = [place(p["loc"][:-1] if p["type"] == "missing" else p["loc"], values) for p in own]
        for problem, parts in reversed(list(zip(own, ways))):  # the last of a list first, so that places stay right
            left_out |= put_right(recipe, problem, parts, values)
    return None, list(found)


def follows(problem: Problem, left_out: set[str]) -> bool:
    """Whether a problem may come from what was left out: it is of a section there, names it, or misses it."""
    named = {path for path in left_out if path.split(".")[0] in NAMED}
    names = {path.split(".")[1] for path in named if path.count(".") == 1}
    if problem.path in ("", "slides", "evaluation.patches") and left_out:
        return True
    return any(problem.path == path or problem.path.startswith((f"{path}.", f"{path}[")) for path in left_out) or any(
        f"'{name}'" in problem.what for name in names
    )


def place(loc: Iterable[Any], values: Any) -> list[Any]:
    """The keys and numbers on the way to a problem, without the kinds that pydantic adds."""
    parts = []
    for part in loc:
        inside = isinstance(values, list) and part in range(len(values))
        if inside or (isinstance(values, Mapping) and part in values):
            parts.append(part)
            values = values[part]
    return parts


def dotted(parts: Iterable[Any]) -> str:
    """synthetic.levels[1].tile_px"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def in_words(recipe: type[BaseModel], problem: Mapping[str, Any], values: Mapping[str, Any]) -> list[Problem]:
    """A problem of pydantic's as its writer would say it; several, where a check found several."""
    missing = problem["type"] == "missing"
    parts = place(problem["loc"] if not missing else problem["loc"][:-1], values)
    path = dotted([*parts, problem["loc"][-1]] if missing else parts)
    given, what = problem.get("input"), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        keys = keys_at(recipe, parts[:-1], values)
        if RENAMED.get(parts[-1]) in keys:
            return [Problem(path, f"is called `{RENAMED[parts[-1]]}` now")]
        meant = nearest(parts[-1], keys)
        hint = f"did you mean `{meant}`?" if meant else f"there are {', '.join(keys)}"
        return [Problem(path, f"unknown key; {hint}")]
    if missing:
        about = field_at(recipe, parts, problem["loc"][-1], values)
        return [Problem(path, "Field required" + (f": {about.description}" if about and about.description else ""))]
    if problem["type"] == "value_error":
        found = []
        for line in what.splitlines():
            inner = INNER.match(line)
            where = ".".join(filter(None, [path, inner[1]])) if inner else path
            found.append(Problem(where, line[inner.end() :] if inner else line))
        return found if path else [split_path(one.what) if one.path == "" else one for one in found]
    words = expected(problem)
    if isinstance(given, Mapping) and "kind" in given:
        given = given["kind"]
    if problem["type"] == "union_tag_invalid":
        what = f"no such kind; there are {', '.join(words)}"
    said = "" if isinstance(given, Mapping | list) and len(str(given)) > 60 else f", not {given!r}"
    meant = nearest(given, words) if words else None
    return [Problem(path, f"{what}{said}" + (f"; did you mean {meant!r}?" if meant else ""))]


def split_path(line: str) -> Problem:
    """`models.shared: what` of a check between sections."""
    path, colon, what = line.partition(": ")
    return Problem(path, what) if colon and re.fullmatch(r"[\w.\[\]-]+", path) else Problem("", line)


def expected(problem: Mapping[str, Any]) -> list[str]:
    """The words that may stand there, where there are few."""
    context = problem.get("ctx", {})
    listed = re.findall(r"'([^']+)'", context.get("expected", context.get("expected_tags", "")))
    _, _, kinds = problem["msg"].partition("no such kind; there are ")
    return listed or (kinds.split(", ") if kinds else [])


def put_right(recipe: type[BaseModel], problem: Mapping[str, Any], parts: list[Any], values: Any) -> set[str]:
    """Change `values` so that this problem, at `parts`, is gone; what was left out for it, as paths of named sections."""
    if not parts or place(parts, values) != parts:  # the whole recipe; or left out already
        return set()
    above: Any = values
    for part in parts[:-1]:
        above = above[part]
    key, section = parts[-1], dotted(parts[: 2 if parts[0] in NAMED else 1])
    if problem["type"] == "extra_forbidden":
        given, keys = above.pop(key), keys_at(recipe, parts[:-1], values)
        if RENAMED.get(key) in keys:
            above.setdefault(RENAMED[key], given)
            return set()
        meant = nearest(key, keys)
        if meant and meant not in above:
            above[meant] = given  # that it was meant so is a guess: what is wrong with it there is not said
            return {dotted([*parts[:-1], meant])}
        return {section}
    words = expected(problem)
    given = above[key]["kind"] if isinstance(above[key], Mapping) and "kind" in above[key] else above[key]
    if words and (meant := nearest(given, words)):
        if isinstance(above[key], dict):
            above[key]["kind"] = meant
        else:
            above[key] = meant
        return set()
    if problem["type"] in ("missing", "value_error") or isinstance(above, list):  # the whole section
        above, key = values, parts[0]
        if parts[0] in NAMED and len(parts) > 1:
            above, key = values[parts[0]], parts[1]
    above.pop(key, None)
    return {section}


def keys_at(recipe: type[BaseModel], parts: Iterable[Any], values: Mapping[str, Any]) -> list[str]:
    """The keys that the section at a place may have."""
    section = section_at(recipe, list(parts), values)
    return list(section.model_fields) if section else []


def field_at(recipe: type[BaseModel], parts: Iterable[Any], key: str, values: Mapping[str, Any]) -> FieldInfo | None:
    section = section_at(recipe, list(parts), values)
    return section.model_fields.get(key) if section else None


def section_at(kind: Any, parts: list[Any], values: Any) -> type[BaseModel] | None:
    """The class of the section at a place: through lists, named sections, and the kinds that a section may be of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not parts:
            return kind
        if parts[0] not in kind.model_fields:
            return None
        field = kind.model_fields[parts[0]]
        inner = values.get(parts[0]) if isinstance(values, Mapping) else None
        return section_at(field.annotation, parts[1:], inner)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        likeliest = sorted(arguments, key=lambda one: likeness(one, values), reverse=True)
        return next(filter(None, (section_at(one, parts, values) for one in likeliest)), None)
    if hasattr(kind, "__metadata__"):
        return section_at(arguments[0], parts, values)
    if origin in (list, tuple, dict) and parts:
        try:
            return section_at(arguments[-1], parts[1:], values[parts[0]])
        except (KeyError, IndexError, TypeError):
            return None
    return None


def likeness(kind: Any, values: Any) -> tuple[bool, int]:
    """How likely a section is meant to be of this kind: by its `kind`, then by how many of its keys that has."""
    while hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    if not (isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(values, Mapping)):
        return False, -1
    field = kind.model_fields.get("kind")
    words = get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()
    return bool(field) and values.get("kind", field.default) in words, len(set(values) & set(kind.model_fields))
