"""Mistakes of a recipe are named all at once, in one notation, with the nearest right word; what follows from one is not."""

import copy

import pytest
import yaml

from histogenesis.recipe import RecipeError, parse_recipe


@pytest.fixture
def values(root):
    return copy.deepcopy(yaml.safe_load((root / "config/test/harb.yaml").read_text()))


def change(values, path, value):
    *parents, last = path
    for key in parents:
        values = values[key]
    values[last] = value


# Planted one by one, of every layer: a key, a word, a number, a missing key, a name, between levels, between sections.
LEVELS = ("synthetic", "levels")
MISTAKES = {
    "tissue.metod": (("tissue", "metod"), "otsu", "unknown key; did you mean `method`?"),
    "split.by": (("split", "by"), "patients", "'patient' or 'region', not 'patients'; did you mean 'patient'?"),
    "patches.main.per_slide": (("patches", "main", "per_slide"), 0, "Input should be greater than 0, not 0"),
    "models.other.patches": (("models", "other"), {"training": {"steps": 1}}, "Field required: "),
    "synthetic.levels[0]": ((*LEVELS, 0, "model"), "sharde", "no model 'sharde'; did you mean 'shared'?"),
    "synthetic.levels[1].joining": ((*LEVELS, 1, "joining"), {"kind": "grid_shift"}, "did you mean 'grid-shift'?"),
    "synthetic.levels[2].sampler.step": ((*LEVELS, 2, "sampler"), {"step": 3}, "unknown key; did you mean `steps`?"),
    "synthetic.levels[1]": ((*LEVELS, 1, "size_px"), [60, 96], "is not twice that of the level above"),
    "models.shared": (("models", "shared", "conditions"), ["mpp", "mpp"], "conditions are listed twice"),
}


@pytest.mark.parametrize("path", MISTAKES)
def test_each_mistake_alone_is_one_line(values, path):
    key, value, message = MISTAKES[path]
    change(values, key, value)
    with pytest.raises(RecipeError) as error:
        parse_recipe(values, "own.yaml")
    first, *lines = str(error.value).splitlines()
    assert first == "own.yaml is not a valid recipe:"
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"  {path}") and message in lines[0]


def test_mistakes_of_every_layer_are_named_in_one_round(values):
    planted = set(MISTAKES) - {"synthetic.levels[0]"}  # that a model is not there may follow from what is wrong with it
    for path in planted:
        change(values, *MISTAKES[path][:2])
    with pytest.raises(RecipeError) as error:
        parse_recipe(values)
    named = {line.strip().split(": ")[0] for line in str(error.value).splitlines()[1:]}
    assert named == planted


def test_what_follows_from_another_mistake_is_not_named(values):
    values["patches"]["main"]["size_px"] = "sixteen"  # the model's patch set is not known then, nor its mpps
    with pytest.raises(RecipeError) as error:
        parse_recipe(values)
    assert str(error.value).splitlines()[1:] == [
        "  patches.main.size_px: Input should be a valid integer, unable to parse string as an integer, not 'sixteen'"
    ]


def test_a_recipe_that_only_trains_or_only_draws_is_one(values):
    training = {key: value for key, value in values.items() if key != "synthetic"}
    assert parse_recipe(training).synthetic is None
    drawing = {key: value for key, value in values.items() if key not in ("slides", "patches", "evaluation")}
    drawing["models"] = {"shared": {"path": "elsewhere"}}
    assert parse_recipe(drawing).compared_patches is None
    with pytest.raises(RecipeError, match="nothing is made"):
        parse_recipe({"run": "nothing"})


def test_a_guess_is_not_held_against_the_recipe(values):
    values["evaluation"]["encoder"] = 5  # `encoders` would be a list
    with pytest.raises(RecipeError) as error:
        parse_recipe(values)
    assert str(error.value).splitlines()[1:] == ["  evaluation.encoder: unknown key; did you mean `encoders`?"]
