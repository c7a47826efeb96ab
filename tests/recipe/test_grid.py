"""A study's grid: what becomes of each combination, what combinations share, and what is refused."""

import copy

import pytest

from histogenesis.recipe import RecipeError, parse_recipe

RECIPE = {
    "run": "study",
    "patches": {"p": {"kind": "folder", "path": "p", "size_px": 32}},
    "models": {
        "ddpm": {
            "patches": "p",
            "conditions": [],
            "network": {"channels": 8, "multipliers": [1, 2], "attention_px": []},
            "objective": {"kind": "eps", "schedule": "linear"},
            "training": {"steps": 10, "seed": 7},
        }
    },
    "samples": {"main": {"model": "ddpm", "sampler": {"kind": "ddpm", "steps": 1000}}},
}
SCHEDULES = {"models.ddpm.objective.schedule": ["linear", "cosine"]}
SAMPLERS = {"samples.main.sampler": {"ancestral": {"kind": "ddpm", "steps": 20}, "ode": {"kind": "ddim", "steps": 10}}}


def expanded(grid, seeds=1, **more):
    return parse_recipe({**copy.deepcopy(RECIPE), "study": {"grid": grid, "seeds": seeds}, **more})


def test_each_combination_has_models_and_samples_of_its_own_named_readably():
    recipe = expanded(SCHEDULES | {"models.ddpm.network.attention_px": {"none": [], "self": [16]}}, seeds=2)
    assert len(recipe.models) == len(recipe.samples) == len(recipe.study.cells) == 8
    model = recipe.models["ddpm_schedule-cosine_attention_px-self_seed-2"]
    assert (model.objective.schedule, model.network.attention_px, model.training.seed) == ("cosine", [16], 8)
    samples = recipe.samples["main_schedule-cosine_attention_px-self_seed-2"]
    assert samples.model == "ddpm_schedule-cosine_attention_px-self_seed-2" and samples.seed == 2
    cell = recipe.study.cells[-1]
    assert cell.values == {"schedule": "cosine", "attention_px": "self"} and cell.seed == 2
    assert cell.names == {"main": "schedule-cosine_attention_px-self"}
    assert "ddpm" not in recipe.models and "main" not in recipe.samples, "only the combinations are made"


def test_combinations_share_what_does_not_differ():
    """Two samplers and two seeds: a model for each seed, and not for each sampler."""
    recipe = expanded(SAMPLERS, seeds=2)
    assert sorted(recipe.models) == ["ddpm_seed-1", "ddpm_seed-2"] and list(recipe.patches) == ["p"]
    assert sorted(recipe.samples) == [f"main_sampler-{s}_seed-{k}" for s in ("ancestral", "ode") for k in (1, 2)]
    assert recipe.samples["main_sampler-ode_seed-2"].sampler.kind == "ddim"


def test_samples_that_an_axis_does_not_bear_on_are_drawn_once():
    more = copy.deepcopy(RECIPE["samples"]) | {"other": {"model": "ddpm", "images": 3}}
    recipe = expanded(SAMPLERS, samples=more)
    assert sorted(recipe.samples) == ["main_sampler-ancestral", "main_sampler-ode", "other"]
    assert [cell.names for cell in recipe.study.cells] == [
        {"main": "sampler-ancestral", "other": "all"},
        {"main": "sampler-ode", "other": "all"},
    ]


def test_a_model_may_vary_with_what_is_drawn_from_it_and_patch_sets_with_their_models():
    models = copy.deepcopy(RECIPE["models"]) | {"large": copy.deepcopy(RECIPE["models"]["ddpm"])}
    recipe = expanded({"samples.main.model": ["ddpm", "large"], "patches.p.size_px": [32, 64]}, models=models)
    assert sorted(recipe.patches) == ["p_size_px-32", "p_size_px-64"]
    assert sorted(recipe.models) == [f"{m}_size_px-{s}" for m in ("ddpm", "large") for s in (32, 64)]
    samples = recipe.samples["main_model-large_size_px-64"]
    assert samples.model == "large_size_px-64" and recipe.models[samples.model].patches == "p_size_px-64"
    assert recipe.compared_with("main_model-large_size_px-64") == "p_size_px-64"


def test_values_may_change_together_under_a_name_of_ones_own():
    together = {
        "size": {"small": {"patches.p.size_px": 32}, "large": {"patches.p.size_px": 64, "samples.main.images": 5}}
    }
    recipe = expanded(together)
    assert recipe.patches["p_size-large"].size_px == 64 and recipe.samples["main_size-large"].images == 5
    assert recipe.samples["main_size-small"].images == 256


def test_the_expanded_recipe_is_a_recipe_and_stays_as_it_is():
    recipe = expanded(SCHEDULES | SAMPLERS, seeds=3)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def test_a_change_of_one_value_leaves_the_other_combinations_alone():
    one, grid = expanded(SAMPLERS), copy.deepcopy(SAMPLERS)
    grid["samples.main.sampler"]["ode"]["steps"] = 11
    other = expanded(grid)
    assert one.models == other.models
    changed = {name for name in one.samples if one.samples[name] != other.samples[name]}
    assert changed == {"main_sampler-ode"}


def test_the_winner_is_no_combination():
    models = copy.deepcopy(RECIPE["models"]) | {
        "best": {"winner_of": "main", "patches": "p", "training": {"steps": 20}}
    }
    samples = copy.deepcopy(RECIPE["samples"]) | {"final": {"model": "best"}}
    study = {"grid": SCHEDULES, "seeds": 2, "winner": {"samples": "main"}}
    recipe = parse_recipe({**copy.deepcopy(RECIPE), "models": models, "samples": samples, "study": study})
    assert {"best"} == set(recipe.winner_models) and "final" in recipe.samples
    assert all(list(cell.samples) == ["main"] for cell in recipe.study.cells)
    with pytest.raises(RecipeError, match=r"say in study\.winner by what 'main' is judged"):
        parse_recipe({**copy.deepcopy(RECIPE), "models": models, "samples": samples, "study": {"grid": SCHEDULES}})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"models.dpm.training.lr": [1e-4]}, r"study.grid.models.dpm.training.lr: varies nothing"),
        ({"evaluation.images": [1, 2]}, "varies nothing; a key starts with one of patches, models, samples"),
        ({"models.ddpm.network.attention_px": [[], [16]]}, "needs a name"),
        ({"models.ddpm.training.lr": "fast"}, "give a list|Input should be"),
        ({"models.ddpm.training.speed": [1, 2]}, r"models.ddpm_speed-1.training.speed: unknown key"),
        ({"models.ddpm.objective.schedule": ["linear", "square"]}, r"models.ddpm_schedule-square.objective.schedule"),
        ({"size": {"a b": {"patches.p.size_px": 32}}}, "has more than letters"),
        ({"size": {"a": 3}}, "give the keys and values that it stands for"),
    ],
)
def test_a_wrong_grid_is_refused_with_its_key(grid, message):
    with pytest.raises(RecipeError, match=message):
        expanded(grid)
