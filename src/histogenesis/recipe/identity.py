"""Identities: what a step is told of the recipe, in one short word that changes when, and only when, its result may.

    models/shared@8f3c12ab90de             a section: where it stands in the recipe, and a digest of it
    evaluation[encoders,images]@51c0...    some keys of a section
    samples/ddpm[-compare]@0d11...         all but some

A key that says of itself that it bears on no byte (`bears_on_bytes: false` in the schema: how often to report, how many GPUs,
under which path) is no part of the digest. The word is also an address: `{recipe file}#{identity}`, in place of a section as
JSON, is what steps are given (`section_text`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from histogenesis.core.errors import BadInput

LENGTH = 12
IDENTITY = re.compile(r"(?P<place>[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)(?:\[(?P<keys>[a-z0-9_,-]+)\])?(?:@[0-9a-f]+)?")


def bears_on_bytes(section: type[BaseModel], name: str) -> bool:
    """Whether a key says that results depend on it; it does unless it says otherwise."""
    extra = section.model_fields[name].json_schema_extra
    return not isinstance(extra, dict) or bool(extra.get("bears_on_bytes", True))


def bearing(value: Any) -> Any:
    """A section (or a list or dict of some) as plain values, defaults spelt out, without what bears on no bytes."""
    if isinstance(value, BaseModel):
        kind = type(value)
        return {name: bearing(getattr(value, name)) for name in kind.model_fields if bears_on_bytes(kind, name)}
    if isinstance(value, dict):
        return {key: bearing(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [bearing(part) for part in value]
    return value


def identity(place: str, value: Any, *, only: set[str] | None = None, without: set[str] | None = None) -> str:
    """The identity of what stands at `place` of the recipe; of the keys `only`, or of all `without` some."""
    content, keys = bearing(value), ""
    if only is not None:
        content, keys = {key: content[key] for key in only if key in content}, ",".join(sorted(only))
    if without is not None:
        content, keys = {k: v for k, v in content.items() if k not in without}, f"-{','.join(sorted(without))}"
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{place}{f'[{keys}]' if keys else ''}@{hashlib.sha256(text.encode()).hexdigest()[:LENGTH]}"


def section_at(recipe: Any, address: str) -> Any:
    """What stands at an identity's place of a recipe (plain values), with the keys that it names."""
    match = IDENTITY.fullmatch(address)
    if not match:
        raise BadInput(f"{address!r} is no place in a recipe; give it as models/shared or evaluation[images]")
    value = recipe
    if (
        "recipe" in recipe and match["place"].split("/")[0] not in recipe
    ):  # the run's recipe file, with what is derived from it
        value = recipe["recipe"]
    for part in match["place"].split("/"):
        try:
            value = item_of(value, part) if isinstance(value, list) else value[part]
        except (KeyError, ValueError, IndexError, TypeError):
            raise BadInput(f"the recipe has no {match['place']}; there is no {part!r}") from None
    if keys := match["keys"]:
        names = keys.removeprefix("-").split(",")
        value = {key: part for key, part in value.items() if (key in names) != keys.startswith("-")}
    return value


def item_of(items: list[Any], part: str) -> Any:
    """The item of that name, wherever it stands in the list; where none has it, the item at that index."""
    named = [item for item in items if isinstance(item, dict) and item.get("name") == part]
    return named[0] if named else items[int(part)]


def section_text(text: str) -> str:
    """What a step was told, as JSON: as it is given, or read from `{recipe file}#{identity}` (.json, .yaml).

    For argparse, whose ArgumentTypeError it raises for a file that is not there, or has no such section.
    """
    if text.lstrip()[:1] in ("{", "[", ""):
        return text
    file, _, address = text.rpartition("#")
    try:
        content = Path(file).read_text()
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{file or text}: {error.strerror}; give a section as JSON, or RECIPE#models/NAME"
        ) from None
    if Path(file).suffix == ".json":
        recipe = json.loads(content)
    else:
        import yaml

        recipe = yaml.safe_load(content)
    try:
        return json.dumps(section_at(recipe, address), sort_keys=True, separators=(",", ":"))
    except BadInput as error:
        raise argparse.ArgumentTypeError(f"{file}: {error}") from None
