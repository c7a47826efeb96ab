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
    schema = parts_only(Recipe.model_json_schema())
    schema["properties"] = {"extends": EXTENDS, **schema["properties"]}
    schema["required"] = ["run"]
    return schema


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
