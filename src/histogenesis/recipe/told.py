"""What each step is told of the recipe: rule -> its params, as identities (identity.py) and short flags.

All that a rule's params hold of the recipe comes from here, and a step reads its sections by these identities. So this table
says which steps a change of the recipe makes run again; what follows from those, Snakemake knows by their files.
`w` has the job's wildcards as attributes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from histogenesis.recipe.arms import study_arms
from histogenesis.recipe.identity import bearing, bears_on_bytes, identity
from histogenesis.recipe.levels import GivenLevel
from histogenesis.recipe.models import Training, WinnerModel
from histogenesis.recipe.needs import needs_of
from histogenesis.recipe.recipe import Recipe

SAMPLED = {"encoders", "images", "train_images", "codec"}  # which patches are compared, and by what
OF_SAMPLES = SAMPLED | {
    "one_per_group",
    "neighbours",
    "n_resamples",
    "n_folds",
    "copy_percentile",
    "copy_views",
    "n_shown",
    "sensitivity_images",
    "morphology_images",
    "c2st_steps",
}

Told = dict[str, str]
TOLD: dict[str, Callable[[Recipe, Any], Told]] = {}


def told(rule: str, recipe: Recipe, wildcards: Any) -> Told:
    """The params of a job by name. Raises KeyError for a rule that is told nothing of the recipe."""
    return TOLD[rule](recipe, wildcards)


def step(function: Callable[[Recipe, Any], Told]) -> Callable[[Recipe, Any], Told]:
    TOLD[function.__name__] = function
    return function


def seed(recipe: Recipe) -> Told:
    return {"seed": f"--seed {recipe.seed}"}


def threads(recipe: Recipe) -> Told:
    return {"cpu_threads": f"--threads {recipe.cpu_threads}"}


def compared(recipe: Recipe) -> Told:
    """What of the patch set that synthetic slides are compared with is asked of them too."""
    return {"min_tissue": f"--min-tissue {recipe.patches[recipe.compared_patches].min_tissue}"}


def tilings(recipe: Recipe) -> Told:
    return {"tiles": identity("tilings", derived(recipe)["tilings"])}


def derived(recipe: Recipe) -> dict[str, Any]:
    """What steps are told that follows from several sections: how each level is tiled, and the levels that a model of another
    run makes, each with the size of its canvas and the ratio of the mpp above to its own; what is asked of the data, and which
    patch sets are cut from slides."""
    levels = recipe.synthetic.levels if recipe.synthetic else []
    made = {
        name: [
            [
                {**bearing(level), "size_px": recipe.synthetic.size_px(k)},
                levels[k - 1].mpp / level.mpp if k else None,
            ]
            for k, level in enumerate(levels)
            if name in level.models
        ]
        for name in recipe.imported_models
    }
    return {
        "tilings": [level.tiling for level in levels],
        "levels_of": made,
        "needs": needs_of(recipe),
        "sets": {name: patches.from_slides for name, patches in recipe.patches.items()},
    }


def recipe_text(recipe: Recipe) -> str:
    """The run's recipe file, which steps read: the recipe with its defaults spelt out, and what is derived from it."""
    return json.dumps(
        {"recipe": recipe.model_dump(mode="json"), **derived(recipe), "arms": study_arms(recipe)}, indent=1
    )


def recipe_of_text(text: str) -> Recipe:
    """The recipe of such a file."""
    return Recipe.model_validate(json.loads(text)["recipe"])


# ------------------------------------------------------------------------------------------------ slides and patches


@step
def make_phantom(recipe: Recipe, w: Any) -> Told:
    phantom = next(phantom for phantom in recipe.slides.phantoms if phantom.name == w.slide)
    return {"options": identity(f"slides/phantoms/{w.slide}", phantom, without={"label", "patient"})}


@step
def register_slide(recipe: Recipe, w: Any) -> Told:
    return {"damaged": f"--max-damaged {recipe.slides.max_damaged:g}"}


@step
def segment_tissue(recipe: Recipe, w: Any) -> Told:
    return {"options": identity("tissue", recipe.tissue)}


@step
def split_patients(recipe: Recipe, w: Any) -> Told:
    return {
        "options": identity("split", recipe.split),
        "phantoms": identity("slides/phantoms", [[p.name, p.patient] for p in recipe.slides.phantoms]),
    }


@step
def check_data(recipe: Recipe, w: Any) -> Told:
    asked = derived(recipe)
    return {
        "limits": identity("gate", recipe.gate),
        "phantoms": identity("slides/phantoms", [[p.name, p.patient] for p in recipe.slides.phantoms]),
        "needs": identity("needs", asked["needs"]),
        "sets": identity("sets", asked["sets"]),
    }


@step
def split_groups(recipe: Recipe, w: Any) -> Told:
    return {"options": identity("split", recipe.split)}


@step
def cut_patches(recipe: Recipe, w: Any) -> Told:
    return {"options": identity(f"patches/{w.patch_set}", recipe.patches[w.patch_set]), **seed(recipe)}


TOLD["cut_regions"] = TOLD["read_labelled"] = cut_patches

# ------------------------------------------------------------------------------------------------ models and samples


@step
def take_model(recipe: Recipe, w: Any) -> Told:
    return {"levels": identity(f"levels_of/{w.model}", derived(recipe)["levels_of"][w.model])}


@step
def train_model(recipe: Recipe, w: Any) -> Told:
    model = recipe.models[w.model]
    if isinstance(model, WinnerModel):  # what it says of the training is a part of that section
        free = {name for name in Training.model_fields if not bears_on_bytes(Training, name)}
        model = model.model_copy(update={"training": {k: v for k, v in model.training.items() if k not in free}})
    return {"options": identity(f"models/{w.model}", model), **threads(recipe)}


@step
def measure_reconstruction(recipe: Recipe, w: Any) -> Told:
    return {"images": f"--images {recipe.evaluation.images}", **threads(recipe)}


@step
def draw_samples(recipe: Recipe, w: Any) -> Told:
    section = recipe.samples[w.samples]
    return {"options": identity(f"samples/{w.samples}", section, without={"compare", "tstr"}), **threads(recipe)}


@step
def take_samples(recipe: Recipe, w: Any) -> Told:
    section = recipe.samples[w.samples]
    compared = recipe.patches[section.compare]
    return {
        "options": identity(f"samples/{w.samples}", section, without={"tstr"}),
        "size_px": f"--size-px {compared.size_px}",
        "mpp": f"--mpp {min(compared.mpps):g}" if compared.mpps and not section.mpp else "",
    }


@step
def evaluate_samples(recipe: Recipe, w: Any) -> Told:
    return {"options": identity("evaluation", recipe.evaluation, only=OF_SAMPLES), **seed(recipe), **threads(recipe)}


@step
def measure_utility(recipe: Recipe, w: Any) -> Told:
    options = recipe.evaluation.tstr.model_dump() if recipe.evaluation.tstr else {}
    words = " ".join(f"--{key} {value}" for key, value in options.items())
    return {"options": words, **seed(recipe), **threads(recipe)}


TOLD["train_on_real"] = measure_utility


@step
def gather_study(recipe: Recipe, w: Any) -> Told:
    study, models = recipe.study, {}
    if study.winner:
        names = {name for cell in study.cells for name in cell.models.values()}
        models = {name: recipe.trained_models[name] for name in sorted(names) if name in recipe.trained_models}
    return {
        "cells": identity("study/cells", study.cells),
        "winner": identity("study/winner", study.winner) if study.winner else "",
        "models": identity("models", models),
        "arms": identity("arms", study_arms(recipe)),
    }


@step
def write_viewer(recipe: Recipe, w: Any) -> Told:
    return {"real": "--real" if recipe.viewer.real else ""}


@step
def make_reading(recipe: Recipe, w: Any) -> Told:
    section, mpps = recipe.reading[w.reading], []
    if getattr(section, "mpps", ()) is None:  # those of the levels
        made = [level for level in recipe.synthetic.levels if not isinstance(level, GivenLevel)]
        mpps = [f"--mpps {' '.join(f'{level.mpp:g}' for level in made)}"]
    return {"options": identity(f"reading/{w.reading}", section), "mpps": " ".join(mpps)}


# ------------------------------------------------------------------------------------------------ drawing


@step
def draw_level(recipe: Recipe, w: Any) -> Told:
    k = int(w.k)
    return {
        "options": identity(f"synthetic/levels/{k}", recipe.synthetic.levels[k]),
        "size_px": f"--size-px {' '.join(map(str, recipe.synthetic.size_px(k)))}",
        **seed(recipe),
        **threads(recipe),
    }


@step
def give_level(recipe: Recipe, w: Any) -> Told:
    return {"options": identity(f"synthetic/levels/{w.k}", recipe.synthetic.levels[int(w.k)])}


TOLD["draw_share"] = TOLD["upscale_level"] = draw_level


@step
def plan_tissue(recipe: Recipe, w: Any) -> Told:
    return {"options": identity("synthetic/plan", recipe.synthetic.plan)}


@step
def stitch_slide(recipe: Recipe, w: Any) -> Told:
    return {"options": identity("synthetic/file", recipe.synthetic.file), **seed(recipe)}


# ------------------------------------------------------------------------------------------------ evaluation and report


@step
def measure_coherence(recipe: Recipe, w: Any) -> Told:
    return {"options": identity("evaluation", recipe.evaluation, only={"seam_shifts"}), **tilings(recipe)}


@step
def draw_contact_sheet(recipe: Recipe, w: Any) -> Told:
    options = identity("evaluation", recipe.evaluation, only={"contact_sheet"})
    return {"options": options, **compared(recipe), **seed(recipe)}


@step
def extract_features(recipe: Recipe, w: Any) -> Told:
    """None of the user's other encoders bears on one encoder's features."""
    own = [e for e in recipe.evaluation.encoders if isinstance(e, str) or e.name == w.encoder]
    evaluation = recipe.evaluation.model_copy(update={"encoders": own})
    return {"options": identity("evaluation", evaluation, only=SAMPLED), **compared(recipe), **seed(recipe)}


@step
def evaluate_patches(recipe: Recipe, w: Any) -> Told:
    other = {"enabled", "contact_sheet", "seam_shifts", "tstr", "n_shown", "patches", "one_per_group"}
    options = identity("evaluation", recipe.evaluation, without=other)
    return {"options": options, **tilings(recipe), **compared(recipe), **seed(recipe)}


@step
def write_recipe(recipe: Recipe, w: Any) -> Told:
    return {"recipe": identity("run", recipe)}
