"""Mistakes of a recipe are named all at once, in one notation, with the nearest right word; what follows from one is not."""

import copy

import pytest
import yaml

from histogenesis.recipe import RecipeError, parse_recipe, read_recipe
from histogenesis.recipe.base import RENAMED


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
    "models.taken.patches": (("models", "taken"), {"pretrained": "x", "patches": "mian"}, "did you mean 'main'?"),
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
    # That a model or a patch set is not there may follow from what is wrong with it.
    planted = set(MISTAKES) - {"synthetic.levels[0]", "models.taken.patches"}
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


# Where each key of an earlier version stood, with a value that it had there.
EARLIER = {
    ("patches", "cut", "white"): {"share": 0.5},
    ("models", "vq", "network", "codes"): 512,
    ("models", "ddpm", "objective", "told"): "log-snr",
    ("synthetic", "levels", 1, "white"): {},
    ("synthetic", "levels", 0, "sampler", "levels"): "schedule",
    ("samples", "drawn", "sampler", "levels"): "karras",
    ("samples", "drawn", "utility"): False,
    ("samples", "brought", "utility"): True,
    ("evaluation", "judge"): True,
    ("evaluation", "repeats"): 10,
    ("evaluation", "splits"): 3,
    ("evaluation", "shown"): 4,
    ("evaluation", "utility"): {"seeds": 2},
}
ALL_SECTIONS = """
run: earlier
slides: {phantoms: [{name: a}, {name: b}]}
patches: {cut: {size_px: 16, mpps: [16, 8]}}
models:
  vq: {patches: cut, network: {kind: vq-f4, channels: 4}, objective: {kind: autoencoder}, conditions: [], training: {steps: 1}}
  ddpm: {patches: cut, network: {multipliers: [1, 1], attention_px: []}, objective: {kind: eps}, training: {steps: 1}}
synthetic:
  levels:
    - {mpp: 16, size_px: [16, 16], model: ddpm, tile_px: 16, sampler: {kind: ddim}}
    - {mpp: 8, model: ddpm, tile_px: 16, joining: {kind: independent}}
samples:
  drawn: {model: ddpm, sampler: {kind: ddim}}
  brought: {folder: elsewhere, compare: cut}
evaluation:
  images: 20
"""


def test_every_key_that_was_renamed_is_named_in_one_line_with_its_new_name():
    values = yaml.safe_load(ALL_SECTIONS)
    parse_recipe(values)
    for path, value in EARLIER.items():
        own = copy.deepcopy(values)
        change(own, path, value)
        with pytest.raises(RecipeError) as error:
            parse_recipe(own)
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]
        assert str(error.value).splitlines()[1:] == [f"  {place}: is called `{RENAMED[path[-1]]}` now"]
    assert {path[-1] for path in EARLIER} == set(RENAMED)


def test_renamed_keys_are_named_together_with_what_else_is_wrong_with_them():
    values = yaml.safe_load(ALL_SECTIONS)
    values["evaluation"] |= {"repeats": 2}
    values["tissue"] = {"mpp": 0}
    values["models"]["ddpm"]["objective"]["told"] = "sigma"
    with pytest.raises(RecipeError) as error:
        parse_recipe(values)
    assert {line.split(": ")[0].strip() for line in str(error.value).splitlines()[1:]} == {
        *("evaluation.repeats", "evaluation.n_resamples", "tissue.mpp"),
        *("models.ddpm.objective.told", "models.ddpm.objective.noise_cond"),
    }


def test_a_renamed_key_in_a_grid_or_that_would_take_one_away_is_named_too(values, tmp_path):
    own = yaml.safe_load(ALL_SECTIONS) | {"study": {"grid": {"samples.drawn.sampler.levels": ["karras", "schedule"]}}}
    with pytest.raises(RecipeError, match=r"^study.grid.samples.drawn.sampler.levels: .* `timestep_spacing` now$"):
        parse_recipe(own)
    (tmp_path / "below.yaml").write_text(ALL_SECTIONS + "  tstr: {seeds: 2}")
    (tmp_path / "above.yaml").write_text(
        "extends: below.yaml\nrun: above\nevaluation: {utility: null, neighbours: null}"
    )
    with pytest.raises(RecipeError) as error:
        parse_recipe(read_recipe(tmp_path / "above.yaml"))
    assert str(error.value).splitlines()[1:] == ["  evaluation.utility: is called `tstr` now"]


def test_a_guess_is_not_held_against_the_recipe(values):
    values["evaluation"]["encoder"] = 5  # `encoders` would be a list
    with pytest.raises(RecipeError) as error:
        parse_recipe(values)
    assert str(error.value).splitlines()[1:] == ["  evaluation.encoder: unknown key; did you mean `encoders`?"]
