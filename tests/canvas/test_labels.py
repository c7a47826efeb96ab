"""Class labels and guidance compose with the cascade: a level names its class, in the recipe and nowhere else."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from histogenesis.models.model import Normalisation, build_model, save_model
from histogenesis.recipe import Level, Model, RecipeError, canonical, parse_recipe

NETWORK = {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0}
MODEL = {"patches": "p", "conditions": ["mpp", "label"], "network": NETWORK, "training": {"steps": 1}}
LEVEL = {"mpp": 8, "size_px": [32, 32], "model": "m", "tile_px": 16, "batch": 2, "sampler": {"steps": 3}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of two classes, of random weights."""
    folder, section = tmp_path_factory.mktemp("models") / "m", Model.model_validate(MODEL)
    torch.manual_seed(0)
    normalisation = Normalisation([128.0, 128.0, 128.0], 50.0, 0.5)
    made = build_model(section, 16, normalisation, ["benign", "tumour"])
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    weights = made.network.state_dict()
    save_model(folder, weights, section, normalisation, patch_px=16, mpps=[8.0], classes=["benign", "tumour"])
    return folder


def draw(root, model, out, **more):
    """Level 0, as the rule draws it."""
    section = Level.model_validate(LEVEL | more)
    command = [sys.executable, str(root / "workflow/scripts/draw_level.py"), "--slide", "s", "--k", "0"]
    command += ["--options", canonical(section), "--size-px", "32", "32", "--seed", "1", "--threads", "1"]
    command += ["--models", str(model.parent), "--state", str(out.parent / f"{out.stem}.state"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr
    with h5py.File(out) as file:
        return file["image"][:]


def test_a_level_is_drawn_of_its_class_with_its_guidance(root, model, tmp_path):
    drawn = {
        name: draw(root, model, tmp_path / f"{name}.h5", **more)
        for name, more in {
            "none": {},
            "benign": {"label": "benign"},
            "tumour": {"label": "tumour"},
            "guided": {"label": "tumour", "guidance": 2.0},
            "by tile": {"label": "tumour", "guidance": 2.0, "joining": {"kind": "inpaint", "stride_px": 8}},
        }.items()
    }
    names = list(drawn)
    for k, a in enumerate(names):
        assert drawn[a].shape == (32, 32, 3)
        for b in names[k + 1 :]:
            assert not np.array_equal(drawn[a], drawn[b]), f"{a} and {b} are alike"
    assert np.array_equal(draw(root, model, tmp_path / "again.h5", label="tumour", guidance=2.0), drawn["guided"])
    assert "has not learnt class 'stroma'; its classes are benign, tumour" in draw(
        root, model, tmp_path / "stroma.h5", label="stroma"
    )


def recipe(**level):
    return {
        "run": "x",
        "slides": {"phantoms": [{"name": "a"}]},
        "patches": {"p": {"size_px": 16, "mpps": [8], "labelled": True}},
        "models": {"m": json.loads(json.dumps(MODEL))},
        "synthetic": {"levels": [LEVEL | level]},
    }


def test_a_class_that_nobody_is_told_is_refused():
    assert parse_recipe(recipe(label="tumour", guidance=1)).synthetic.levels[0].label == "tumour"
    untold = recipe(label="tumour")
    untold["models"]["m"]["conditions"] = ["mpp"]
    with pytest.raises(RecipeError, match="no model of it is told the class; add `label` to its `conditions`"):
        parse_recipe(untold)
    unlabelled = recipe()
    unlabelled["patches"]["p"]["labelled"] = False
    with pytest.raises(RecipeError, match=r"models\.m: it needs labels, and patch set 'p' has none"):
        parse_recipe(unlabelled)
    never = recipe(guidance=1)
    never["models"]["m"]["label_dropout"] = 0
    with pytest.raises(RecipeError, match="also learnt without label: set `label_dropout`"):
        parse_recipe(never)


def test_a_level_is_led_away_from_a_weaker_model(root, model, tmp_path):
    weaker, facts = model.parent / "weaker", json.loads((model / "model.json").read_text())
    torch.manual_seed(1)
    section = Model.model_validate(MODEL)
    made = build_model(section, 16, Normalisation([120.0, 128.0, 128.0], 40.0, 0.5), facts["classes"])
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    weights, units = made.network.state_dict(), made.normalisation
    save_model(weaker, weights, section, units, patch_px=16, mpps=[8.0], classes=facts["classes"])
    alone, led = (
        draw(root, model, tmp_path / "alone.h5"),
        draw(root, model, tmp_path / "led.h5", guidance=1, weaker="weaker"),
    )
    more = draw(root, model, tmp_path / "more.h5", guidance=2, weaker="weaker")
    assert led.shape == alone.shape == (32, 32, 3)
    apart, further = (np.abs(one.astype(float) - alone).mean() for one in (led, more))
    assert 0 < apart < further


def test_a_weaker_model_is_one_of_the_recipe_with_guidance_away_from_it():
    two = recipe(guidance=1, weaker="small")
    with pytest.raises(RecipeError, match="small"):
        parse_recipe(two)
    two["models"]["small"] = json.loads(json.dumps(MODEL))
    level = parse_recipe(two).synthetic.levels[0]
    assert level.models == ["m", "small"]
    assert parse_recipe(two).synthetic.drawn_mpps == {"m": [(0, 8.0)], "small": [(0, 8.0)]}
    two["models"]["small"]["label_dropout"] = 0  # nobody is asked without its class
    two["models"]["m"]["label_dropout"] = 0
    parse_recipe(two)
    two["models"]["small"]["conditions"] = ["mpp", "context"]
    two["patches"]["p"]["context_ratio"] = 2
    with pytest.raises(RecipeError, match="give both the same `conditions`"):
        parse_recipe(two)
    for wrong, why in (
        ({"weaker": "small", "guidance": 0}, "no `guidance` away from it"),
        ({"weaker": "m", "guidance": 1}, "the model itself"),
    ):
        with pytest.raises(RecipeError, match=why):
            parse_recipe({**two, "synthetic": {"levels": [LEVEL | wrong]}})
