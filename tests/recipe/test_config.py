"""The recipe: wrong ones are refused with the key and the remedy, and the schema does not drift."""

import copy
import json

import pytest
import yaml

from histogenesis.recipe import RecipeError, Relaxation, canonical, load_recipe, parse_recipe, recipe_schema


@pytest.fixture
def values(root):
    return copy.deepcopy(yaml.safe_load((root / "config/test/harb.yaml").read_text()))


def test_every_recipe_that_we_ship_is_valid(root):
    recipes = sorted((root / "config").glob("**/*.yaml"))
    assert len(recipes) >= 5
    for path in recipes:
        load_recipe(path)


def test_the_schema_is_up_to_date(root):
    shipped = json.loads((root / "config/recipe.schema.json").read_text())
    assert shipped == recipe_schema(), "run `histogenesis schema` and commit config/recipe.schema.json"


def test_the_full_recipe_is_the_papers(root):
    recipe = load_recipe(root / "config/harb.yaml")
    network = recipe.models["shared"].network
    assert (
        network.multipliers == [0.5, 1, 1, 2, 2, 4, 4]
        and network.channels == 64
        and network.attention_px == [32, 16, 8]
    )
    assert recipe.synthetic.size_px(6) == (65536, 65536)
    assert recipe.synthetic.levels[1].constraint.relaxation == Relaxation(steps=28)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("colour",), 1, "  colour: unknown key"),
        (("models", "shared", "network", "chanels"), 8, r"  models.shared.network.chanels: unknown key"),
        (("models", "shared"), {}, r"  models.shared.patches: Field required"),
        (
            ("synthetic", "levels", 1, "constraint", "relaxation", "steps"),
            -1,
            r"  .*levels.1.constraint.relaxation.steps: ",
        ),
        (("tissue", "metod"), "fesi", "tissue.metod: unknown key"),
        (("tissue", "mpp"), "ten", "tissue.mpp: Input should be a valid number"),
        (("tissue", "mpp"), -1, "tissue.mpp: .*greater than 0"),
        (("models", "shared", "patches"), "other", "no patch set 'other'; there are"),
        (("models", "shared", "training", "micro_batch"), 3, "micro_batch 3 does not divide batch 4"),
        (("patches", "main", "size_px"), 17, "17 px patches do not allow; use a multiple of 2 px"),
        (("patches", "main", "mpps"), [16, 8], "learns mpps .* and never sees 4"),
        (("patches", "main", "mpps"), [16, 8, 4, 4], "mpps are listed twice"),
        (("synthetic", "levels", 0, "size_px"), [8, 48], "smaller than one tile of 16 px"),
        (("synthetic", "levels", 1, "size_px"), [60, 96], "not twice that of the level above"),
        (("synthetic", "levels", 1, "mpp"), 6, "`null-space` wants each level to double; 16.0 -> 6.0"),
        (("synthetic", "levels", 1, "tile_px"), 15, "tile_px 15 is not a multiple of 2"),
        (("synthetic", "levels", 1, "model"), "absent", "no model 'absent'; there are"),
        (("synthetic", "levels", 1, "constraint"), {"kind": "strict"}, "constraint"),
        (
            ("synthetic", "levels", 1, "constraint"),
            {"kind": "null-space", "relaxation": {}},
            "give either `steps` or `sigma`",
        ),
        (("slides", "phantoms"), [], "no slides: give `table: path/to/slides.tsv`"),
        (("run",), "../outside", "run: String should match pattern"),
    ],
)
def test_a_wrong_recipe_is_refused_with_key_and_remedy(values, path, value, message):
    *parents, last = path
    inner = values
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)


UPSCALED = {"kind": "upscale", "mpp": 8, "method": {"kind": "bicubic"}}
UPSCALER = {"network": {"kind": "edsr"}, "objective": {"kind": "super-resolution"}, "conditions": []}


def test_a_level_may_be_upscaled_and_a_model_taken(values):
    values["models"] = {"shared": {"path": "elsewhere"}, "edsr": values["models"]["shared"] | UPSCALER}
    values["synthetic"]["levels"][1:] = [UPSCALED, UPSCALED | {"mpp": 4, "method": {"kind": "edsr", "model": "edsr"}}]
    recipe = parse_recipe(values)
    assert [level.kind for level in recipe.synthetic.levels] == ["draw", "upscale", "upscale"]
    assert list(recipe.trained_models) == ["edsr"] and recipe.compared_patches == "main"
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe, "with its defaults spelt out it is the same recipe"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((1, "kind"), "stretch", r"levels.1: no such kind; there are draw, upscale"),
        ((1,), UPSCALED | {"mpp": 6}, r"`upscale` wants each level to double; 16.0 -> 6.0"),
        ((1,), UPSCALED | {"tile_px": 33}, r"levels.1.tile_px: .*multiple of 2"),
        ((1,), UPSCALED | {"method": {"kind": "edsr", "model": "none"}}, r"levels\[1\]: no model 'none'"),
        (
            (1,),
            UPSCALED | {"method": {"kind": "edsr", "model": "shared"}},
            r"the objective 'edm', not 'super-resolution'",
        ),
        ((0,), UPSCALED | {"mpp": 16}, r"levels\[0\]: nothing lies above it that could be upscaled"),
    ],
)
def test_a_wrong_level_is_refused(values, path, value, message):
    *parents, last = path
    inner = values["synthetic"]["levels"]
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)


def test_an_upscaler_is_no_denoiser(values):
    values["models"]["shared"] |= UPSCALER
    with pytest.raises(
        RecipeError, match=r"levels\[0\]: model 'shared' has the objective 'super-resolution', not 'edm'"
    ):
        parse_recipe(values)
    values["models"]["shared"]["objective"] = {"kind": "edm"}
    with pytest.raises(RecipeError, match="go together; give both or none"):
        parse_recipe(values)


def test_the_compared_patch_set_must_be_known(values):
    values["models"]["shared"] = {"path": "elsewhere"}
    values["patches"]["other"] = values["patches"]["main"]
    with pytest.raises(RecipeError, match=r"evaluation.patches: say which patch set to compare with \(main, other\)"):
        parse_recipe(values)
    values["evaluation"]["patches"] = "other"
    assert parse_recipe(values).compared_patches == "other"


def test_a_relaxation_that_frees_every_step_is_refused(values):
    values["synthetic"]["levels"][1]["constraint"]["relaxation"] = {"steps": 3}
    with pytest.raises(RecipeError, match="frees all 3 steps; use at most 2"):
        parse_recipe(values)


def test_a_canvas_that_is_no_whole_number_of_pixels_is_refused(values):
    levels = values["synthetic"]["levels"]
    levels[1] = {**levels[1], "mpp": 7, "constraint": {"kind": "none"}}
    with pytest.raises(RecipeError, match="give size_px, or another mpp"):
        parse_recipe(values)


def test_the_canonical_form_tells_swapped_values_apart():
    assert canonical({"x": 1, "y": 2}) != canonical({"x": 2, "y": 1})
    assert canonical({"y": 2, "x": 1}) == canonical({"x": 1, "y": 2})
