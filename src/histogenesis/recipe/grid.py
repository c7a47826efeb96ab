"""A study becomes a plain recipe: every combination of its grid has patch sets, models and samples of its own.

A variant is named after the axes that bear on it, as `ddpm_schedule-linear_seed-2`: a model that two combinations share (they
differ in their sampler, say) is one model, and is trained once. So a change of one value reruns what it bears on, and no more.
"""

from __future__ import annotations

import copy
import itertools
import re
from typing import Any, NamedTuple

from histogenesis.recipe.base import RENAMED, RecipeError
from histogenesis.recipe.samples import BROUGHT

SECTIONS = ("patches", "models", "samples")
REFERENCES = {"patches": (), "models": (("patches", "patches"), ("autoencoder", "models")),
              "samples": (("model", "models"), ("compare", "patches"))}  # fmt: skip


class Axis(NamedTuple):
    """`options`: the name of each choice, and the keys that it sets."""

    name: str
    options: dict[str, dict[str, Any]]

    def bears_on(self, section: str, name: str) -> bool:
        return any(key.split(".")[:2] == [section, name] for keys in self.options.values() for key in keys)


def expand(values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's values with the grid of `study` carried out and `study.cells` filled in; others are returned as they are.

    Raises RecipeError for a grid that cannot be: a key of no patch set, model or samples, or values without names.
    """
    study = values.get("study")
    if not isinstance(study, dict) or study.get("cells"):
        return values
    axes = axes_of(study.get("grid") or {}, values)
    varied = {
        name
        for name, s in (values.get("samples") or {}).items()
        if "winner_of" not in _of(values, "models", s) and not (isinstance(s, dict) and BROUGHT & set(s))
    }
    flat = copy.deepcopy(values)
    for section in SECTIONS:
        flat[section] = {}
    cells, used = [], set()
    seeds = study.get("seeds", 1)
    for choice in itertools.product(*(axis.options for axis in axes)):
        for seed in range(1, (seeds if isinstance(seeds, int) else 1) + 1):
            own = copy.deepcopy(values)
            for axis, option in zip(axes, choice):
                for key, value in axis.options[option].items():
                    set_value(own, key, value)
            variant = Variants(own, list(zip(axes, choice)), seed if seeds != 1 else None)
            cell: dict[str, Any] = {"samples": {}, "models": {}, "names": {}}
            for name in sorted(varied):
                cell["samples"][name] = variant.add(flat, "samples", name)
                cell["names"][name] = "_".join(variant.parts("samples", name)) or "all"
                model = own["samples"][name].get("model")
                cell["models"][name] = variant.names.get(("models", model), model)
            cell |= {"values": {axis.name: option for axis, option in zip(axes, choice)}, "seed": seed}
            cells.append(cell)
            used |= set(variant.names)
    for section in SECTIONS:  # what no combination uses: the winner's models and samples, and patch sets of their own
        rest = {n: v for n, v in (values.get(section) or {}).items() if (section, n) not in used}
        flat[section] |= copy.deepcopy(rest)
    flat["study"] = {**study, "cells": cells}
    return flat


class Variants:
    """The sections of one combination, named after what bears on them."""

    def __init__(self, own: dict[str, Any], chosen: list[tuple[Axis, str]], seed: int | None):
        self.own, self.chosen, self.seed = own, chosen, seed
        self.names: dict[tuple[str, str], str] = {}

    def axes(self, section: str, name: str) -> list[int]:
        """Which axes bear on a section: its own, and those of what it refers to."""
        found = {i for i, (axis, _) in enumerate(self.chosen) if axis.bears_on(section, name)}
        for key, kind in REFERENCES[section]:
            other = (_get(self.own, section, name) or {}).get(key)
            if isinstance(other, str):
                found |= set(self.axes(kind, other))
        return sorted(found)

    def parts(self, section: str, name: str) -> list[str]:
        """What a variant's name says: the options of the axes that bear on it."""
        return [f"{self.chosen[i][0].name}-{self.chosen[i][1]}" for i in self.axes(section, name)]

    def add(self, flat: dict[str, Any], section: str, name: str) -> str:
        """Put the section (and what it refers to) into `flat` under its variant's name, and return that."""
        content = _get(self.own, section, name)
        if not isinstance(content, dict):  # no such section: the recipe's own check says so
            return name
        content = copy.deepcopy(content)
        parts = self.parts(section, name)
        if self.seed is not None and self._seed(section, content):
            parts.append(f"seed-{self.seed}")
        variant = "_".join([name, *parts])
        for key, kind in REFERENCES[section]:
            if isinstance(content.get(key), str):
                content[key] = self.add(flat, kind, content[key])
        flat[section][variant] = content
        self.names[section, name] = variant
        return variant

    def _seed(self, section: str, content: dict[str, Any]) -> bool:
        """Set this combination's seed where there is one to set: in samples, and in models that are trained from noise."""
        if section == "models" and isinstance(content.get("training"), dict):
            if (content.get("objective") or {}).get(
                "kind"
            ) == "autoencoder":  # one for all: what is learnt in it varies
                return False
            content["training"]["seed"] = content["training"].get("seed", 1) + self.seed - 1
        elif section == "samples":
            content["seed"] = content.get("seed", 1) + self.seed - 1
        else:
            return False
        return True


def axes_of(grid: dict[str, Any], values: dict[str, Any] | None = None) -> list[Axis]:
    """The axes of a grid, each with a short name: the end of its key, as long as needed to tell it from the others.

    values: the recipe's, in which each key must stand; without them keys are not looked for.
    """
    axes = []
    for key, given in grid.items():
        choices = {option_name(key, value): value for value in given} if isinstance(given, list) else given
        if not isinstance(choices, dict) or not choices:
            raise RecipeError(f"study.grid.{key}: give a list of values, or names for them")
        options = {str(n): (v if "." not in key else {key: v}) for n, v in choices.items()}
        for name, keys in options.items():
            if not isinstance(keys, dict):
                raise RecipeError(f"study.grid.{key}.{name}: give the keys and values that it stands for")
            if clean(name) != name:
                raise RecipeError(f"study.grid.{key}: the name {name!r} has more than letters, digits, `.` and `-`")
            for one in keys:
                parts = one.split(".")
                if parts[-1] in RENAMED:
                    raise RecipeError(f"study.grid.{one}: `{parts[-1]}` is called `{RENAMED[parts[-1]]}` now")
                if values is None:
                    continue
                if parts[0] not in SECTIONS or len(parts) < 3 or parts[1] not in (values.get(parts[0]) or {}):
                    raise RecipeError(
                        f"study.grid.{one}: varies nothing; a key starts with one of {', '.join(SECTIONS)} and a name that"
                        " is there, as models.ddpm.training.lr"
                    )
        axes.append(Axis(key, options))
    ends = [axis.name.split(".") for axis in axes]

    def short(parts: list[str]) -> str:
        for n in range(1, len(parts) + 1):
            if sum(other[-n:] == parts[-n:] for other in ends) == 1:
                return "-".join(parts[-n:])
        raise RecipeError(f"study.grid: {'.'.join(parts)} cannot be told from another axis; rename one")

    return [Axis(short(parts), axis.options) for axis, parts in zip(axes, ends)]


def option_name(key: str, value: Any) -> str:
    """A name for a value that says what it is."""
    if isinstance(value, dict | list):
        raise RecipeError(f"study.grid.{key}: {value!r} needs a name: give {{name: value, ...}} in place of a list")
    return clean("none" if value is None else f"{value:g}" if isinstance(value, float) else str(value))


def clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)


def set_value(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key; sections on the way that are not there are made."""
    *parents, last = key.split(".")
    for part in parents:
        if isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        elif isinstance(values, dict):
            if not isinstance(values.get(part), dict | list):
                values[part] = {}
            values = values[part]
        else:
            raise RecipeError(f"study.grid.{key}: there is no {part!r} to vary")
    if isinstance(values, list):
        values[int(last)] = copy.deepcopy(value)
    else:
        values[last] = copy.deepcopy(value)


def _get(values: dict[str, Any], section: str, name: str) -> Any:
    return (values.get(section) or {}).get(name)


def _of(values: dict[str, Any], section: str, sample: Any) -> dict[str, Any]:
    """The model that samples name, as it is written in the recipe."""
    found = _get(values, section, sample.get("model")) if isinstance(sample, dict) else None
    return found if isinstance(found, dict) else {}
