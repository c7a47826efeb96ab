"""The recipe: wrong ones are refused with the key and the remedy, and the schema does not drift."""

import json

import pytest

from histogenesis.canvas.plan import state_bytes
from histogenesis.recipe import (
    Level,
    NullSpace,
    RecipeError,
    Relaxation,
    canonical,
    load_recipe,
    parse_recipe,
    recipe_schema,
)
from histogenesis.recipe.reference import reference


def test_every_recipe_that_we_ship_is_valid(root):
    recipes = sorted((root / "config").glob("**/*.yaml"))
    assert len(recipes) >= 5
    for path in recipes:
        load_recipe(path)


def test_every_recipe_names_the_schema_for_editors(root):
    recipes = [*(root / "config").glob("**/*.yaml"), root / "docs/tutorial.yaml"]
    for path in recipes:
        first = path.read_text().splitlines()[0]
        named = first.removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / named).resolve() == root / "config/recipe.schema.json", f"{path}: {first}"


def test_the_tutorials_recipe_is_one_and_small(root):
    recipe = load_recipe(root / "docs/tutorial.yaml")
    assert recipe.models["shared"].training.steps <= 500 and not recipe.slides.table, "ten minutes, and no data"
    assert 'docs/tutorial.yaml"' in (root / "docs/tutorial.md").read_text(), "the page shows the file itself"


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
    first, *finer = recipe.synthetic.levels
    assert first.size_px == (512, 512) and first.tile_px == 512 and first.mpp in recipe.patches["main"].whole_mpps
    assert recipe.synthetic.size_px(7) == (65536, 65536)
    in_letter = Relaxation(steps=28)
    hundred = first.sampler.model_copy(update={"steps": 100})
    meant = Level.model_validate(
        finer[0].model_dump() | {"sampler": hundred, "start": None, "constraint": NullSpace(relaxation=in_letter)}
    )
    for level in finer:
        assert level.constraint.relaxation.sigma == pytest.approx(meant.constraint.relaxation.sigma, abs=0.03)
        assert level.start.sigma < level.sampler.sigma_max and level.sampler.steps <= 12


def test_a_canvas_between_two_steps_of_the_full_recipes_is_not_larger_than_one_gpu_holds(root):
    """x and the solver's history, of 3 channels: 109 GB in fp32 at 65,536 px, which only files would take."""
    for name in ("harb.yaml", "harb-baselines/r0.yaml"):
        recipe = load_recipe(root / "config" / name)
        largest = max(
            state_bytes(level, *recipe.synthetic.size_px(k)) for k, level in enumerate(recipe.synthetic.levels)
        )
        assert largest == pytest.approx(65536**2 * 2 * 3 * 2, rel=0.07) and largest < 0.6 * 141e9, name


def test_a_step_count_becomes_the_noise_level_that_it_means(values):
    level = values["synthetic"]["levels"][1]
    level["sampler"], level["constraint"]["relaxation"] = {"kind": "heun", "steps": 40}, {"steps": 10}
    del level["start"]
    values["synthetic"]["levels"][2:] = []
    recipe = parse_recipe(values)
    kept = recipe.synthetic.levels[1].constraint.relaxation
    assert kept.steps is None and kept.sigma == pytest.approx(
        (80 ** (1 / 7) + 30 / 39 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    )
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    level["start"] = {"sigma": 2}
    kept = parse_recipe(values).synthetic.levels[1].constraint.relaxation
    assert kept.sigma == pytest.approx((2 ** (1 / 7) + 30 / 39 * (0.002 ** (1 / 7) - 2 ** (1 / 7))) ** 7), (
        "of its own steps"
    )


def test_a_step_count_that_would_make_levels_independent_is_refused(values):
    level = values["synthetic"]["levels"][1]
    level["sampler"], level["constraint"]["relaxation"] = {"kind": "heun", "steps": 40}, {"steps": 28}
    del level["start"]
    with pytest.raises(RecipeError, match=r"the last 28 of 40 steps begin at sigma 11\.7.*give `sigma`"):
        parse_recipe(values)
    level["sampler"] = {"kind": "ddpm", "steps": 40}
    with pytest.raises(RecipeError, match="own schedule decides"):
        parse_recipe(values)


def test_every_key_and_section_is_described():
    schema = recipe_schema()
    sections = {"the recipe": schema, **schema["$defs"]}
    bare = [name for name, section in sections.items() if not section.get("description")]
    bare += [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, about in section.get("properties", {}).items()
        if not about.get("description")
    ]
    assert not bare, "give each field a description, and each class a docstring"


def test_the_reference_page_is_up_to_date(root):
    page = (root / "docs/reference.md").read_text()
    assert page == reference(), "run `histogenesis schema --reference docs/reference.md`"
    for key in ("`size_px`", "[NullSpace](#nullspace)", "## Training", "`karras`, `schedule`"):
        assert key in page


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("colour",), 1, "  colour: unknown key"),
        (("models", "shared", "network", "chanels"), 8, r"  models.shared.network.chanels: unknown key"),
        (("models", "shared"), {}, r"  models.shared.patches: Field required"),
        (
            ("synthetic", "levels", 1, "constraint", "relaxation", "steps"),
            -1,
            r"  synthetic.levels\[1\].constraint.relaxation.steps: .*, not -1",
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
        (
            ("synthetic", "levels", 1, "constraint", "relaxation"),
            {"sigma": 2},
            "a relaxation at sigma 2 frees all steps, which begin at 2",
        ),
        (
            ("synthetic", "levels", 0, "start"),
            {"sigma": 2},
            r"levels\[0\]: nothing lies above it that it could start from",
        ),
        (("synthetic", "levels", 1, "start"), {"sigma": 81}, "start.sigma 81 must lie between"),
        (("synthetic", "levels", 1, "start"), {"sigma": 0.002}, "start.sigma 0.002 must lie between"),
        (
            ("models", "shared", "network", "attention_px"),
            [8, 5],
            r"models.shared: its network has attention at \[5\] where no feature map is: there are \[16, 8\]",
        ),
        (
            ("models", "shared", "network"),
            {"channels": 16, "multipliers": [1, 2], "blocks": 1, "attention_levels": [1, 2]},
            r"models.shared: its network has attention at \[2\] where no feature map is: there are \[0, 1\]",
        ),
        (
            ("models", "shared", "network"),
            {"channels": 16, "multipliers": [1, 2], "blocks": 1, "attention_levels": [1], "attention_px": [8]},
            "attention is named by `attention_px` and by `attention_levels`; give one of both",
        ),
        (("models", "shared", "network", "multipliers"), [1, 0], r"multipliers: \[1.0, 0.0\] must all be more than 0"),
        (
            ("models", "shared", "objective"),
            {"kind": "eps", "schedule": {"from": 0.02, "to": 1e-4}},
            "from 0.02 is not below to 0.0001",
        ),
        (("models", "shared", "network", "heads"), 3, "splits 16 channels into 3 heads, which do not divide them"),
        (
            ("models", "shared", "network"),
            {
                "kind": "efficient",
                "channels": 12,
                "multipliers": [1, 2],
                "blocks": [1, 1],
                "attention": [False, True],
                "heads": 7,
            },
            "models.shared: its network splits 24 channels into 7 heads, which do not divide them; change `heads`",
        ),
        (
            ("models", "shared", "network"),
            {"kind": "jit", "token_px": 6},
            "divides its picture by 6, which 16 px patches do not allow",
        ),
        (
            ("models", "shared", "network"),
            {"kind": "jit", "channels": 16, "heads": 3, "token_px": 4},
            "models.shared: its network splits 16 channels into 3 heads",
        ),
        (("patches", "main", "whole_mpps"), [32], r"whole_mpps: \[32.0\] are not among the mpps"),
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


def test_a_network_with_attention_draws_at_the_size_of_the_crops_that_it_learns_or_to_twice_that(values):
    values["models"]["shared"]["training"]["crop_px"] = 4
    with pytest.raises(
        RecipeError, match=r"self-attention and learns crops of 4 px .*draws tiles of 4 to 8 px, not of 16"
    ):
        parse_recipe(values)
    values["patches"]["main"]["size_px"] = 64
    values["models"]["shared"]["training"]["crop_px"] = 32
    with pytest.raises(RecipeError, match="draws tiles of 32 to 64 px, not of 16"):
        parse_recipe(values)
    for crop in (8, 16):
        values["models"]["shared"]["training"]["crop_px"] = crop
        parse_recipe(values)
    values["models"]["shared"]["network"] = {
        "kind": "efficient", "channels": 8, "multipliers": [1, 1], "blocks": [1, 1], "attention": [False, False]
    }  # fmt: skip
    values["models"]["shared"]["training"]["crop_px"] = 32
    parse_recipe(values)  # without attention any size will do


def test_a_transformer_draws_whole_tokens(values):
    values["models"]["shared"]["network"] = {"kind": "jit", "token_px": 16, "channels": 16, "heads": 2}
    parse_recipe(values)
    values["synthetic"]["levels"][1]["tile_px"] = 24
    with pytest.raises(RecipeError, match="takes multiples of 16 px: tile_px 24 is not a multiple of 16"):
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
        ((1, "kind"), "stretch", r"synthetic.levels\[1\]: no such kind; there are draw, upscale"),
        ((1,), UPSCALED | {"mpp": 6}, r"`upscale` wants each level to double; 16.0 -> 6.0"),
        ((1,), UPSCALED | {"tile_px": 33}, r"synthetic.levels\[1\].tile_px: .*multiple of 2"),
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


def test_a_model_serves_within_three_per_cent_of_what_it_learns(values):
    values["patches"]["main"]["mpps"] = [16.4, 8.2, 4.1]
    parse_recipe(values)
    values["patches"]["main"]["mpps"] = [16.6, 8.2, 4.1]
    with pytest.raises(RecipeError, match=r"learns mpps \[16.6, 8.2, 4.1\] and never sees 16"):
        parse_recipe(values)


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
