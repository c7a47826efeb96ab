"""The tiny twin of the baselines: a model taken from another run, levels upscaled, and the runs side by side."""

import json
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from histogenesis.canvas.upscalers import make_upscaler
from histogenesis.recipe import Bicubic, read_recipe

from .conftest import Run

pytestmark = pytest.mark.workflow
RECIPE = "config/test/baselines.yaml"


@pytest.fixture(scope="module")
def baselines(finished, tmp_path_factory) -> Run:
    """Run beside the finished run whose model it takes."""
    folder = tmp_path_factory.mktemp("baselines") / "run"
    shutil.copytree(finished.folder, folder, symlinks=True)
    run = Run(finished.root, folder)
    run.run(RECIPE)
    return run


@pytest.fixture
def results(baselines):
    return baselines.folder / "results/test-baselines"


def image(results, slide, k):
    with h5py.File(results / f"synthetic/{slide}/level{k}.h5") as file:
        return file["image"][:], dict(file.attrs)


def test_the_model_is_taken_and_level_0_is_the_same_picture(baselines, results):
    other = baselines.folder / "results/test-harb"
    for name in ("model.safetensors", "model.json"):
        assert (results / "models/shared" / name).read_bytes() == (other / "models/shared" / name).read_bytes()
    assert not (results / "state/train/shared").exists(), "nothing was trained"
    for slide in ("synthetic_001", "synthetic_002"):
        assert np.array_equal(image(results, slide, 0)[0], image(other, slide, 0)[0])


def test_levels_are_upscaled_inside_the_plan(results):
    from PIL import Image

    torch.set_num_threads(1)
    for slide in ("synthetic_001", "synthetic_002"):
        plan = np.asarray(Image.open(results / f"synthetic/{slide}/plan.png")) > 127
        (above, _), (made, facts) = image(results, slide, 0), image(results, slide, 1)
        y = torch.from_numpy(above.transpose(2, 0, 1)[None].copy()).float() / 255
        whole = make_upscaler(Bicubic(kind="bicubic"), None, "cpu")(y)[0].mul(255).round().numpy().transpose(1, 2, 0)
        inside = plan.repeat(2, 0).repeat(2, 1)
        assert np.abs(made[inside] - whole[inside]).max(initial=0) <= 1
        assert np.all(made[~inside] == facts["background"]) and facts["method"] == "bicubic"
        assert [image(results, slide, k)[1]["method"] for k in (2, 3)] == ["edsr", "tv-l1"]
        assert [image(results, slide, k)[1]["mpp"] for k in (2, 3)] == [4, 2]
        assert {"slide", "level", "seed", "model", "drawn", "synthetic"} <= set(facts), "as a drawn level"


def test_the_upscaler_was_trained_on_the_same_patches(results):
    card = json.loads((results / "models/edsr/model.json").read_text())
    assert card["network"]["kind"] == "edsr" and card["steps"] == 20
    log = [json.loads(line) for line in (results / "models/edsr/train.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert losses[-1] < losses[0]


def test_nothing_is_left_to_do_and_a_changed_model_reruns_what_it_made(baselines, tmp_path):
    assert baselines.planned(RECIPE) == {}
    run = Run(baselines.root, tmp_path / "run")
    shutil.copytree(baselines.folder, run.folder, symlinks=True)
    weights = run.folder / "results/test-harb/models/shared/model.safetensors"
    weights.touch()
    assert run.planned(RECIPE) == {}, "a touched model is the same model"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    planned = run.planned(RECIPE)
    assert planned["take_model"] == 1 and planned["draw_level"] == 2 and planned["upscale_level"] == 6
    assert "train_model" not in planned and "cut_patches" not in planned
    weights.unlink()
    weights.with_name("model.json").unlink()
    assert run.planned(RECIPE) == {}, "a model that is away is remembered as it was at the last run"


@pytest.mark.long
def test_the_runs_are_compared(baselines, tmp_path):
    words = ["compare", "results/test-harb", "results/test-baselines", "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "histogenesis", *words], check=True, cwd=baselines.folder)
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert [run["run"] for run in found["runs"]] == ["test-harb", "test-baselines"]
    assert [run["method"] for run in found["runs"]] == [
        "drawn, null-space, free below sigma 0.002",
        "bicubic; edsr; tv-l1",
    ]
    assert not [line for line in found["differences"] if "level 0" in line or "real patches" in line]
    for run in found["runs"]:
        names = {number["name"] for number in run["numbers"]}
        assert {"evaluations_per_megapixel", "seconds_per_megapixel", "verdict"} <= names
    assert (tmp_path / "comparison.html").stat().st_size > 10_000 and (tmp_path / "comparison.csv").exists()


def apart_from_finer_levels(values, *names):
    """A recipe's settings but for its name, its models, the finer levels, and ``names``.

    A list replaces a list whole, so the coarsest level stands in each.
    """
    kept = {key: value for key, value in values.items() if key not in ("run", "models", "synthetic", *names)}
    synthetic = {key: value for key, value in values["synthetic"].items() if key != "levels"}
    levels = values["synthetic"]["levels"]
    return kept, synthetic, levels[0], [level["mpp"] for level in levels]


@pytest.mark.parametrize("name", ["bicubic", "edsr", "r0", "r28-like", "tv-l1"])
def test_the_recipes_of_the_baselines_differ_from_the_small_one_in_the_finer_levels_alone(name, root):
    values = read_recipe(root / f"config/baselines/{name}.yaml")
    assert values["run"] == f"baseline-{name}"
    assert values["models"]["shared"] == {"path": "results/small/models/shared"}
    assert apart_from_finer_levels(values) == apart_from_finer_levels(read_recipe(root / "config/small.yaml"))


@pytest.mark.parametrize("name", ["bicubic", "edsr", "r0"])
def test_the_recipes_beside_the_models_that_ship_differ_in_the_finer_levels_alone(name, root):
    values = read_recipe(root / f"config/baselines/gut-{name}.yaml")
    ours = read_recipe(root / "config/pretrained/redraw-gut.yaml")
    assert values["run"] == f"gut-{name}"
    assert apart_from_finer_levels(values, "evaluation") == apart_from_finer_levels(ours, "evaluation")
    evaluation = {key: value for key, value in values["evaluation"].items() if key != "sensitivity_images"}
    assert evaluation == {key: value for key, value in ours["evaluation"].items() if key != "sensitivity_images"}


def test_every_recipe_of_a_baseline_is_compared_with_what_it_extends(root):
    makefile = (root / "Makefile").read_text()
    words = {key: re.search(rf"^{key} := (.*)$", makefile, re.M)[1].split() for key in ("BASELINES", "GUT")}
    found = sorted(path.stem for path in (root / "config/baselines").glob("*.yaml"))
    assert found == sorted([*words["BASELINES"], *(f"gut-{name}" for name in words["GUT"])])
