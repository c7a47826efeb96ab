"""The tiny twin of `harb` from slides to report, as its user runs it."""

import json
import shutil

import h5py
import numpy as np
import openslide
import pytest
import torch
import yaml
from safetensors.torch import load_file

from histogenesis.provenance.devices import has_gpu

from .conftest import Run

pytestmark = pytest.mark.workflow
RECIPE = "config/test/harb.yaml"


@pytest.fixture
def results(finished):
    return finished.folder / "results/test-harb"


def test_every_step_leaves_its_files(results):
    for slide in ("phantom_a", "phantom_b", "phantom_c"):
        assert json.loads((results / f"slides/{slide}.json").read_text())["error"] is None
        for name in ("mask.png", "tissue.geojson", "overlay.png", "qc.json"):
            assert (results / f"tissue/{slide}/{name}").stat().st_size > 0
        with h5py.File(results / f"patches/main/{slide}.h5") as file:
            assert set(np.unique(file["mpp"])) == {4, 8, 16}
            assert file["imgs"].shape[1:] == (16, 16, 3)
            assert np.all(file["tissue"][:] >= 0.1)
    for name in ("model.safetensors", "model.json", "train.jsonl", "loss.png", "samples.png"):
        assert (results / "models/shared" / name).stat().st_size > 0
    assert (results / "report.html").stat().st_size > 10_000


def test_the_synthetic_slides_open_at_the_right_mpp_and_say_that_they_are_synthetic(results):
    drawn = []
    for name in ("synthetic_001", "synthetic_002"):
        with openslide.OpenSlide(results / f"synthetic/{name}.tif") as slide:
            assert slide.dimensions == (192, 128)
            assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(4, rel=1e-3)
            assert json.loads(slide.properties["tiff.ImageDescription"])["synthetic"] is True
            assert not slide.associated_images
        with h5py.File(results / f"synthetic/{name}/level2.h5") as file:
            drawn.append(file["image"][:])
    assert not np.array_equal(*drawn), "two slides are two pictures"


def test_patients_are_not_split(results):
    rows = [line.split("\t") for line in (results / "splits.tsv").read_text().splitlines()]
    patient, split = rows[0].index("patient"), rows[0].index("split")
    seen = {}
    for row in rows[1:]:
        assert seen.setdefault(row[patient], row[split]) == row[split]
    assert set(seen.values()) == {"train", "validation"}


def test_nothing_is_left_to_do(finished):
    assert finished.planned(RECIPE) == {}


def test_the_state_of_finished_drawings_is_gone_and_that_of_the_training_stays(results):
    assert not list((results / "state").glob("draw/*/*/*"))
    assert list((results / "state/train/shared").glob("*/checkpoint.safetensors"))


def test_the_same_recipe_draws_the_same_pixels_again(copied):
    """Everything from the slides on, anew, one job at a time: the same weights and the same slides, byte for byte."""
    results = copied.folder / "results/test-harb"
    names = ["models/shared/model.safetensors", "synthetic/synthetic_001.tif", "synthetic/synthetic_002/level2.h5"]
    before = [(results / name).read_bytes() for name in names]
    shutil.rmtree(copied.folder)
    copied.folder.mkdir()
    copied.snakemake("--cores", "1", "--configfile", str(copied.root / RECIPE))
    assert [(results / name).read_bytes() for name in names] == before


def test_the_merged_recipe_is_written_and_runs_by_itself(finished, results):
    values = yaml.safe_load((results / "recipe.yaml").read_text())
    assert values["models"]["shared"]["objective"]["sigma_data"] == 0.5, "defaults are spelt out"
    assert finished.planned(results / "recipe.yaml") == {}


def test_snakemakes_own_report_is_made_with_captions(finished, tmp_path):
    finished.run(RECIPE, "--report", str(tmp_path / "report.zip"))
    assert (tmp_path / "report.zip").stat().st_size > 10_000


def test_an_unknown_key_is_named_before_anything_runs(root, tmp_path):
    values = yaml.safe_load((root / RECIPE).read_text())
    values["tissue"]["metod"] = "fesi"
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values))
    done = Run(root, tmp_path).run(tmp_path / "bad.yaml", check=False)
    assert done.returncode != 0
    assert "tissue.metod: unknown key" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_another_recipe_keeps_nothing_of_the_demo(root, tmp_path):
    """Snakemake merges recipes deeply; the demo's models must not come along."""
    run = Run(root, tmp_path)
    assert set(run.planned(RECIPE)) >= {"train_model", "draw_level"}
    assert run.planned(RECIPE)["train_model"] == 1
    assert run.planned(RECIPE)["register_slide"] == 3


def test_the_papers_recipe_plans_at_full_size(root, tmp_path):
    """65,536 px, 20 slides, 8 levels each."""
    planned = Run(root, tmp_path).planned("config/harb.yaml")
    assert planned["draw_level"] == 160 and planned["stitch_slide"] == 20


@pytest.mark.long
def test_two_gpus_share_a_training(copied, results):
    """Here two processes, started by the rule: the same weights as one process, to rounding."""
    folder = copied.folder / "results/test-harb"
    shutil.rmtree(folder / "state/train")
    two_gpus = 'models={"shared": {"training": {"gpus": 2}}}'
    weights = "results/test-harb/models/shared/model.safetensors"
    done = copied.run(RECIPE, "--config", two_gpus, "--forcerun", "train_model", "--", weights)
    assert "gpu=2" in done.stderr + done.stdout
    two, one = (load_file(path / "models/shared/model.safetensors") for path in (folder, results))
    assert all(torch.allclose(one[name], two[name], atol=2e-4) for name in one)
    assert any(not torch.equal(one[name], two[name]) for name in one), "it was trained again"


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU, and one process draws on it")
def test_two_processes_draw_a_level_where_there_is_no_gpu(root, copied, results):
    """A band of it each: the same file as of one process, and nothing reruns for their number."""
    values = yaml.safe_load((root / RECIPE).read_text())
    values["synthetic"]["levels"][2]["cpu_processes"] = 2
    recipe = copied.folder / "two.yaml"
    recipe.write_text(yaml.safe_dump(values))
    assert copied.planned(recipe) == {}
    level = "results/test-harb/synthetic/synthetic_001/level2.h5"
    before = (copied.folder / level).read_bytes()
    done = copied.run(recipe, "--printshellcmds", "--forcerun", "draw_level", "--", level)
    assert "histogenesis.core.launch 2" in done.stdout + done.stderr and "threads: 2" in done.stdout + done.stderr
    assert (copied.folder / level).read_bytes() == before
