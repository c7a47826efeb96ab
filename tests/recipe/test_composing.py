"""Constraints, joinings and cascades mix freely; what makes no sense is refused with the reason."""

import copy

import pytest

from histogenesis.recipe import RecipeError, parse_recipe

TRAINING = {"steps": 1, "batch": 2}
NETWORK = {"kind": "efficient", "channels": 8, "multipliers": [1, 2], "blocks": [1, 1], "attention": [False, False]}


def model(patches, factor=None, context=False):
    conditions = ["lowres"] * bool(factor) + ["context"] * context
    objective = {"kind": "v", "timesteps": 16}
    values = {"patches": patches, "network": NETWORK, "conditions": conditions, "training": dict(TRAINING)}
    return values | {"objective": objective, "lowres_factor": factor}


VALUES = {
    "run": "r",
    "slides": {"phantoms": [{"name": "a"}]},
    "patches": {
        "base": {"size_px": 8, "mpps": [8]},
        "large": {"size_px": 16, "mpps": [4, 8]},
        "fine-base": {"size_px": 8, "mpps": [3.2], "context_ratio": 2.5},
        "fine": {"size_px": 16, "mpps": [1.6], "context_ratio": 2.5},
    },
    "models": {
        "base": model("base"),
        "large": model("large", 2),
        "fine-base": model("fine-base", context=True),
        "fine": model("fine", 2, context=True),
        "plain": model("large"),
    },
    "synthetic": {
        "levels": [
            {
                "mpp": 4,
                "size_px": [16, 16],
                "model": "large",
                "tile_px": 16,
                "cascade": [{"model": "base", "tile_px": 8, "sampler": {"kind": "ddpm", "steps": 16}}],
                "joining": {"kind": "independent"},
                "sampler": {"kind": "ddpm", "steps": 16},
            },
            {
                "mpp": 1.6,
                "size_px": [40, 40],
                "model": "fine",
                "tile_px": 16,
                "cascade": [{"model": "fine-base", "tile_px": 8, "sampler": {"kind": "ddim", "steps": 4}}],
                "constraint": {"kind": "context"},
                "joining": {"kind": "inpaint", "stride_px": 12},
                "sampler": {"kind": "dpmpp-2m", "steps": 4},
                "skip_background": {"share": 0.5},
            },
        ]
    },
    "evaluation": {"patches": "large"},
}
ONE = {"mpp": 4, "model": "plain", "tile_px": 16, "sampler": {"steps": 8}}
ABOVE = {"mpp": 8, "size_px": [40, 40], "model": "plain", "tile_px": 16, "sampler": {"steps": 8}}


@pytest.fixture
def values():
    return copy.deepcopy(VALUES)


def test_the_recipe_is_valid(values):
    recipe = parse_recipe(values)
    level = recipe.synthetic.levels[1]
    assert level.models == ["fine-base", "fine"] and level.tile_by_tile and level.stride_px == 12
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe


def set_at(values, path, value):
    *parents, last = path
    for key in parents:
        values = values[key]
    values[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((1, "joining"), {"kind": "grid-shift"}, "`grid-shift` lets tiles agree at every sampler step, but a cascade"),
        ((1, "joining"), {"kind": "average", "stride_px": 12}, "`average` lets tiles agree at every sampler step"),
        ((1, "cascade", 0, "tile_px"), 6, "each be a multiple of the one before"),
        ((1, "joining", "stride_px"), 13, "do not end at a height of 40 px; make it 29 or 42"),
        ((1, "joining", "stride_px"), 6, "must be at least half of tile_px 16"),
        ((1, "joining", "stride_px"), 16, "tiles overlap"),
        ((1, "constraint"), {"kind": "none"}, "wants a context; give the level `constraint: context`"),
        ((1, "constraint"), {"kind": "lowres"}, "`lowres` would tie only the last one"),
        (
            (1, "cascade"),
            [],
            "has learned with a picture at 1/2 of its resolution beside its own, but here there is none",
        ),
        ((1, "cascade", 0, "model"), "base", "model 'base' learns mpps .* and never sees 3.2"),
        ((1, "model"), "large", "model 'large' learns mpps .* never sees 1.6"),
        ((1, "cascade", 0, "sampler", "steps"), 17, "learns 16 steps, fewer than the sampler's 17"),
        ((1, "sampler"), {"timestep_spacing": "schedule", "steps": 17}, "learns 16 steps, fewer than the sampler's 17"),
        ((1, "sampler"), {"kind": "heun", "eta": 0.5}, "`eta` belongs to `kind: ddim`"),
        ((0, "skip_background"), {"share": 0.5}, "nothing lies above it that could be background"),
        ((0, "joining"), {"kind": "inpaint", "stride_px": 20}, "must be at least half"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(values, path, value, message):
    set_at(values["synthetic"]["levels"], path, value)
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("patches", "fine", "context_ratio"),
            2.0,
            "a view 2 times as wide, but the level above is 2.5 times as coarse",
        ),
        (("patches", "fine", "context_ratio"), None, "needs patches with a wider view; set patches.fine.context_ratio"),
        (("models", "fine", "lowres_factor"), 4, "at 1/4 of its resolution .* but here there is one at 1/2"),
        (("models", "fine", "training", "crop_px"), 32, "crop_px 32 is more than the patches' 16 px"),
        (("models", "fine-base", "objective", "timesteps"), 3, "learns 3 steps"),
    ],
)
def test_models_that_do_not_fit_are_refused(values, path, value, message):
    set_at(values, path, value)
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)


JOININGS = [
    {"kind": "grid-shift"},
    {"kind": "independent"},
    {"kind": "average", "stride_px": 8},
    {"kind": "inpaint", "stride_px": 12, "order": "checkerboard", "resample": 2},
]


@pytest.mark.parametrize("joining", JOININGS, ids=lambda joining: joining["kind"])
@pytest.mark.parametrize("constraint", ["none", "null-space", "lowres", "context"])
@pytest.mark.parametrize("sampler", ["heun", "dpmpp-2m", "ddim", "ddpm"])
def test_constraints_joinings_and_samplers_mix_freely(values, joining, constraint, sampler):
    values["patches"]["large"]["context_ratio"] = 2.0
    values["models"]["plain"] = model("large")
    values["models"]["told"] = model("large", 2 if constraint == "lowres" else None, constraint == "context")
    side = 88  # ends with tiles of 16 px every 8 and every 12 px
    fine = ONE | {"model": "told", "constraint": {"kind": constraint}, "joining": joining}
    fine["sampler"] = {"kind": sampler, "steps": 8}
    values["synthetic"]["levels"] = [ABOVE | {"size_px": [side // 2] * 2}, fine]
    level = parse_recipe(values).synthetic.levels[1]
    assert (level.joining.kind, level.constraint.kind, level.sampler.kind) == (joining["kind"], constraint, sampler)


def test_lowres_wants_a_whole_number(values):
    values["models"]["told"] = model("large", 2)
    fine = ONE | {"model": "told", "constraint": {"kind": "lowres"}, "size_px": [90, 90]}
    values["synthetic"]["levels"] = [ABOVE, fine]
    with pytest.raises(RecipeError, match=r"40 x 40 -> 90 x 90 px is not\. Use `context` for other ratios"):
        parse_recipe(values)
