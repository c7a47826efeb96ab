"""The JSON schema of recipes, by which editors complete and check them: config/recipe.schema.json."""

from __future__ import annotations

from typing import Any

from histogenesis.recipe.recipe import Recipe

EXTENDS = {
    "type": "string",
    "minLength": 1,
    "title": "Extends",
    "description": "another recipe, beside this one or of config/: all that is not said here is as there; a list replaces"
    " a list whole, null takes a key away, and `run` is not inherited",
}


def recipe_schema() -> dict[str, Any]:
    """The schema of a file, which may extend another: then no section need be whole, and `check` says what is missing."""
    schema = parts_only(described(Recipe.model_json_schema()))
    schema["properties"] = {"extends": EXTENDS, **schema["properties"]}
    schema["required"] = ["run"]
    return schema


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with a description of every key: of sections, what their classes say of themselves, and so of their `kind`."""
    sections = {f"#/$defs/{name}": section for name, section in schema["$defs"].items()}
    for section in (schema, *schema["$defs"].values()):
        for name, key in section.get("properties", {}).items():
            if "description" not in key and name == "kind":
                key["description"] = said_of(section)
            elif "description" not in key:
                meant = dict.fromkeys(said_of(sections[ref]) for ref in references(key) if ref in sections)
                if meant:
                    key["description"] = " Or: ".join(meant)
    return schema


def said_of(section: dict[str, Any]) -> str:
    return section.get("description", "").replace("\n", " ").strip()


def references(key: Any) -> list[str]:
    """What a key's schema refers to, at any depth, in order."""
    if isinstance(key, list):
        return [ref for one in key for ref in references(one)]
    if not isinstance(key, dict):
        return []
    return (
        [key["$ref"]]
        if "$ref" in key
        else [ref for name, one in key.items() if name != "discriminator" for ref in references(one)]
    )


def parts_only(schema: Any) -> Any:
    """A schema that asks for no key, takes null for what has a name of the recipe's own, and lets several kinds fit a part."""
    if isinstance(schema, list):
        return [parts_only(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "patternProperties":
            found[key] = {n: {"anyOf": [parts_only(one), {"type": "null"}]} for n, one in value.items()}
        elif key == "oneOf" and isinstance(value, list):
            found["anyOf"] = parts_only(value)
        elif key != "required" or not isinstance(value, list):
            found[key] = parts_only(value)
    return found
