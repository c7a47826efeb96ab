"""The reference of recipes, in Markdown, from their schema: every section, every key with its type, default and description."""

from __future__ import annotations

import json
import re
from typing import Any

from histogenesis.recipe.schema import recipe_schema

HEAD = """# Every key of a recipe

<!-- written by `histogenesis schema --reference docs/reference.md`; do not edit -->

Unknown keys are refused. A section of several kinds is told by its `kind`; the first one named is what it is without. A key
that a section needs may stand in the recipe that is [extended](recipes.md); `histogenesis check` says what is missing.

"""


def reference() -> str:
    """The page: the whole recipe first, then its sections in the order in which it names them."""
    schema = recipe_schema()
    sections = schema["$defs"]
    order, todo = [], references(schema["properties"])
    while todo:
        name = todo.pop(0)
        if name not in order:
            order.append(name)
            todo = references(sections[name].get("properties", {})) + todo
    parts = [HEAD, table(schema)]
    parts += [
        f"\n## {name}\n\n{plain(sections[name].get('description', ''))}\n\n{table(sections[name])}" for name in order
    ]
    return "".join(parts)


def references(schema: Any) -> list[str]:
    """Names of the sections that a schema refers to, in order."""
    found = re.findall(r'"\$ref": "#/\$defs/(\w+)"', json.dumps(schema))
    return list(dict.fromkeys(found))


def table(section: dict[str, Any]) -> str:
    rows = ["| key | type | default | |\n|---|---|---|---|\n"]
    for name, key in section.get("properties", {}).items():
        cells = [f"`{name}`", type_of(key), default_of(key), plain(key.get("description", ""))]
        rows.append("| " + " | ".join(cells) + " |\n")
    return "".join(rows)


def plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def type_of(key: dict[str, Any]) -> str:
    """A key's type as a reader wants it."""
    if "$ref" in key:
        name = key["$ref"].split("/")[-1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "allOf"):
        if several in key:
            return ", or ".join(dict.fromkeys(type_of(one) for one in key[several] if one.get("type") != "null"))
    if "const" in key:
        return f"`{key['const']}`"
    if "enum" in key:
        return ", ".join(f"`{word}`" for word in key["enum"])
    if key.get("type") == "array":
        if "prefixItems" in key:
            return "[" + ", ".join(type_of(one) for one in key["prefixItems"]) + "]"
        return f"list of {type_of(key.get('items', {}))}"
    if key.get("type") == "object":
        inner = [*key.get("patternProperties", {}).values(), key.get("additionalProperties")]
        kinds = [type_of(one) for one in inner if isinstance(one, dict)]
        return f"names of yours -> {', or '.join(kinds)}" if kinds else "keys and values"
    return {"integer": "whole number", "number": "number", "string": "text", "boolean": "true, false"}.get(
        key.get("type"), "any"
    ) + limits(key)


def limits(key: dict[str, Any]) -> str:
    """Bounds, as in 0 to 1."""
    low, high = key.get("minimum", key.get("exclusiveMinimum")), key.get("maximum", key.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    if "exclusiveMinimum" in key:
        return f" above {low:g}"
    return f" from {low:g} on" if low is not None else ""


def default_of(key: dict[str, Any]) -> str:
    if "default" not in key:
        return ""
    default = key["default"]
    if isinstance(default, dict):
        return f"`kind: {default['kind']}`" if "kind" in default else "its own"
    return "" if default is None else f"`{json.dumps(default)}`".replace("|", "\\|")
