"""What the arms of a study differ in: the keys that an axis names, and what differs besides.

Two cells that differ in one axis alone are compared key by key: their samples, with the model, the patch sets and the
autoencoder that they name in the names' place, defaults spelt out, and without seeds and what bears on no byte.
"""

from __future__ import annotations

import itertools
from typing import Any

from histogenesis.recipe.grid import REFERENCES, axes_of
from histogenesis.recipe.identity import bearing
from histogenesis.recipe.recipe import Recipe

PLACES = {  # where the keys of a section stand in samples that are written out
    "samples": ("",),
    "models": ("model.", "model.autoencoder."),
    "patches": ("compare.", "model.patches.", "model.autoencoder.patches."),
}


def study_arms(recipe: Recipe) -> list[dict[str, Any]]:
    """For each axis, samples and pair of options in the grid's order: {axis, samples, options, named, besides}.

    named: keys in which the two differ and which the axis names; besides: all others in which they do, those too of another
    model or patch set that an axis names as a whole. Keys are as in the recipe, from the samples on: `sampler`,
    `model.network.channels`, `compare.size_px`. Without a study there are none.
    """
    if not recipe.study:
        return []
    axes = {axis.name: axis for axis in axes_of(recipe.study.grid)}
    written: dict[str, dict] = {}
    found: dict[tuple[str, str, str, str], set[str]] = {}
    for one, other in itertools.combinations(recipe.study.cells, 2):
        apart = [name for name in one.values if one.values[name] != other.values[name]]
        if len(apart) != 1 or one.seed != other.seed:
            continue
        for samples, variant in one.samples.items():
            if variant == other.samples[samples]:
                continue
            for name in (variant, other.samples[samples]):
                written.setdefault(name, written_out(recipe, "samples", name))
            key = apart[0], samples, one.values[apart[0]], other.values[apart[0]]
            keys = differences(written[variant], written[other.samples[samples]])
            found.setdefault(key, set()).update(keys)
    arms = []
    for (axis, samples, *options), differ in found.items():
        wanted = {key for option in axes[axis].options.values() for key in option}
        named = {key for key in differ if any(names(one, key) for one in wanted)}
        about = {"axis": axis, "samples": samples, "options": options}
        arms.append(about | {"named": sorted(named), "besides": sorted(differ - named)})
    return arms


def names(key: str, found: str) -> bool:
    """Whether a grid's key (models.ddpm.objective.schedule) is that of a difference (model.objective.schedule), or is above it.
    One that names another section as a whole (samples.main.model) is that of no difference within it."""
    section, _, *rest = key.split(".")
    tail = ".".join(rest)
    if tail in {reference for reference, _ in REFERENCES[section]}:
        return False
    return any(found == place + tail or found.startswith(f"{place}{tail}.") for place in PLACES[section])


def written_out(recipe: Recipe, kind: str, name: str) -> dict[str, Any]:
    """Samples, a model or a patch set as plain values, with what they name in the names' place, and without seeds."""
    section = bearing(getattr(recipe, kind)[name])
    section.pop("seed", None)
    if isinstance(section.get("training"), dict):
        section["training"].pop("seed", None)
    for key, other in REFERENCES[kind]:
        if isinstance(section.get(key), str):
            section[key] = written_out(recipe, other, section[key])
    return section


def differences(a: Any, b: Any, here: str = "") -> set[str]:
    """The keys in which two sections differ; where one lacks a section, or has another kind of it, that section."""
    if not (isinstance(a, dict) and isinstance(b, dict)) or set(a) != set(b) or a.get("kind") != b.get("kind"):
        return set() if a == b else {here}
    return set().union(*(differences(a[k], b[k], f"{here}.{k}".strip(".")) for k in a))
