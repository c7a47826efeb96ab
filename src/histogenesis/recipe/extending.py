"""How a recipe's file is read: YAML, laid over the recipe that it extends.

`extends: harb.yaml` names another file, beside the recipe or among those of config/, which may extend a third. What a recipe
says replaces what that one says, key by key; a list replaces a list whole, and null takes a key away. A section of another
nature (another `kind`; a `path`, `pretrained` or `winner_of` where there was none; `training` where a model was taken) replaces
the section whole, since their keys have nothing to do with each other. `run` is not inherited: two recipes would write into one
folder.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from histogenesis.core.home import workflow_home
from histogenesis.recipe.base import RENAMED, RecipeError

NATURE = ("kind", "path", "pretrained", "winner_of")  # keys that say what a section is
TAKEN = {"path", "pretrained"}  # a model with one of these is not trained


def read_recipe(path: str | Path) -> dict[str, Any]:
    """A recipe's values, with what it extends beneath.

    Raises RecipeError, in one line, for a file that is missing, no YAML, no mapping, or extends itself.
    """
    path = Path(path)
    return extended(load_mapping(path), [path.parent], str(path), [path.resolve()])


def extended(
    values: Mapping[str, Any], folders: Sequence[Path], source: str, files: Sequence[Path] = ()
) -> dict[str, Any]:
    """`values` laid over what their key `extends` names; without that key, as they are.

    folders: where that file is looked for, before the recipes that come with the workflow. source: what a message calls the
    values. files: those that extend each other, so far.
    """
    values = dict(values)
    name = values.pop("extends", None)
    if name is None:
        return values
    if not isinstance(name, str):
        raise RecipeError(
            f"{source}: extends: {name!r} is no file; give the name of one recipe, as in `extends: harb.yaml`"
        )
    home = workflow_home()
    places = [*folders, *([home / "config"] if home else [])]
    base = next((folder / name for folder in places if (folder / name).is_file()), None)
    if base is None:
        looked = " or ".join(dict.fromkeys(str(folder) for folder in folders))
        raise RecipeError(
            f"{source}: extends: there is no {name} in {looked}, nor in config/; give its path from the recipe's folder"
        )
    if base.resolve() in files:
        circle = " -> ".join(file.name for file in [*files[files.index(base.resolve()) :], base.resolve()])
        raise RecipeError(
            f"{source}: extends: the recipes extend each other in a circle ({circle}); leave one `extends` out"
        )
    below = extended(load_mapping(base), [base.parent], str(base), [*files, base.resolve()])
    below.pop("run", None)
    return laid_over(below, values)


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two sections merged; neither is changed."""
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        if value is None and (key in merged or key not in RENAMED):  # that a key was renamed is for the checks to say
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and same_nature(merged[key], value):
            merged[key] = laid_over(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def same_nature(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    """Whether a section may be laid over another: it says nothing that makes it another thing."""
    if any(key in above and key not in below for key in NATURE):
        return False
    if TAKEN & below.keys() and "training" in above:
        return False
    return above.get("kind", below.get("kind")) == below.get("kind")


def load_mapping(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; what is wrong with it, in one line."""
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}); give the path of a recipe") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: {yaml_problem(error)}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: is no text; give a recipe, a YAML file") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: is not a recipe: it holds no keys; see config/README.md")
    return values


def yaml_problem(error: yaml.YAMLError) -> str:
    """What is wrong with a YAML file and where, in one line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    what = problem or str(error).splitlines()[0]
    hint = "indent with spaces, not tabs" if "'\\t'" in what else "look at the indentation, colons and brackets there"
    return f"{where}no valid YAML ({what}); {hint}"


class _Plain(yaml.SafeDumper):
    """Without anchors: what is said twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(values: Mapping[str, Any]) -> str:
    """A recipe's text, its innermost sections in one line each."""
    return yaml.dump(dict(values), Dumper=_Plain, sort_keys=False, default_flow_style=None, width=120)
