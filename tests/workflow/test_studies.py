"""The tiny twins of `son` and `diffusion4path`: labelled patches to a table with intervals, a winner, and exact reruns."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image

from histogenesis.patches.store import read_texts

from .conftest import Run

pytestmark = pytest.mark.workflow
SON, PATH = "config/test/son.yaml", "config/test/diffusion4path.yaml"
COLOURS = {"0": (230, 190, 220), "1": (200, 120, 180), "normal": (225, 180, 215), "tumour": (170, 110, 190)}


def picture(label: str, seed: int, px: int) -> Image.Image:
    noise = np.random.default_rng(seed).normal(0, 25, (px, px, 3))
    return Image.fromarray((np.array(COLOURS[label]) + noise).clip(0, 255).astype(np.uint8))


def kaggle(folder):
    (folder / "train").mkdir(parents=True)
    for k in range(140):
        picture(str(k % 2), k, 20).save(folder / f"train/p{k}.tif")
    lines = "".join(f"p{k},{k % 2}\n" for k in range(140))
    (folder / "train_labels.csv").write_text("id,label\n" + lines)
    (folder.parent / "foreign").mkdir()
    for k in range(140):  # another generator that has only learnt by heart: the very centres
        picture(str(k % 2), k, 20).crop((2, 2, 18, 18)).save(folder.parent / f"foreign/{k}.png")


def tiles(folder):
    """36 tiles of each class, each there twice, turned."""
    rows = ["file,class,tile"]
    for number, label in enumerate(("normal", "tumour")):
        (folder / label).mkdir(parents=True)
        for k in range(36):
            for turn in range(2):
                picture(label, 100 * number + k, 16).rotate(90 * turn).save(folder / label / f"{k}_{turn}.png")
                rows.append(f"{k}_{turn}.png,{label},{label}{k}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "embeddings.csv").write_text("normal,1,0,0.5\ntumour,-1,0.2,0\n")


def table_of(results) -> list[dict]:
    with open(results / "study/table.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def son(root, tmp_path_factory) -> Run:
    run = Run(root, tmp_path_factory.mktemp("son"))
    kaggle(run.folder / "pcam")
    run.run(SON)
    return run


@pytest.fixture(scope="module")
def path(root, tmp_path_factory) -> Run:
    run = Run(root, tmp_path_factory.mktemp("diffusion4path"))
    tiles(run.folder / "tiles")
    run.run(PATH)
    return run


@pytest.fixture
def copied(path, tmp_path) -> Run:
    shutil.copytree(path.folder, tmp_path / "run", symlinks=True)
    return Run(path.root, tmp_path / "run")


def varied(run: Run, change) -> str:
    """The recipe with a change, beside the run."""
    values = yaml.safe_load((run.root / PATH).read_text())
    change(values)
    (run.folder / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    return str(run.folder / "recipe.yaml")


def test_the_ablation_names_a_winner_that_is_trained_for_each_class(son):
    results = son.folder / "results/test-son"
    rows = table_of(results)
    arms = [f"schedule-{s}_attention_channels-{a}" for s in ("linear", "cosine") for a in ("none", "self")]
    assert list(dict.fromkeys(row["combination"] for row in rows)) == arms, "in the order of the grid"
    likelihood = {row["combination"]: float(row["value"]) for row in rows if row["metric"] == "likelihood"}
    winner = json.loads((results / "study/winner.json").read_text())
    assert winner["combination"] == min(likelihood, key=likelihood.get)
    for name, label in (("best-negative", "0"), ("best-positive", "1")):
        card = json.loads((results / f"models/{name}/model.json").read_text())
        assert card["network"] == winner["model"]["network"] and card["objective"] == winner["model"]["objective"]
        assert card["section"]["classes"] == [label] and card["steps"] == 12
    for name, label in (("negative", "0"), ("positive", "1")):
        with h5py.File(results / f"samples/{name}/samples.h5") as file:
            assert file["imgs"].shape == (24, 16, 16, 3) and set(read_texts(file, "label")) == {label}
            assert file.attrs["synthetic"] and np.isnan(file["mpp"][:]).all()
        assert len(json.loads((results / f"evaluation/samples/{name}/shown.json").read_text())["shown"]) == 4


def test_another_generator_s_pictures_are_judged_and_found_to_be_copies(son):
    """What a recipe takes from a folder goes through the same judge as what a model of it draws, the copies' audit included."""
    results = son.folder / "results/test-son"
    with h5py.File(results / "samples/foreign/samples.h5") as file:
        assert file["imgs"].shape == (24, 16, 16, 3) and file.attrs["synthetic"] and file.attrs["brought"]
    own, foreign = (
        json.loads((results / f"evaluation/samples/{name}/memorisation.json").read_text())["verdict"]
        for name in ("negative", "foreign")
    )
    assert foreign == "copies" != own
    metrics = json.loads((results / "evaluation/samples/foreign/metrics.json").read_text())
    assert {row["name"] for row in metrics} >= {"fid", "kid", "coverage"}
    assert not (results / "models/foreign").exists()


def test_a_winner_is_trained_anew_when_what_its_training_starts_from_is_another(son, tmp_path):
    """For a reason of its own: when the same arm wins again, winner.json is as it was, and is no reason."""
    run = Run(son.root, tmp_path / "run")
    shutil.copytree(son.folder, run.folder, symlinks=True, dirs_exist_ok=True)
    start = tmp_path / "start"
    shutil.copytree(next((run.folder / "results/test-son/models").glob("ddpm_*")), start)
    values = yaml.safe_load((run.root / SON).read_text())
    values["models"]["ddpm"]["training"]["start"] = str(start)
    (run.folder / "recipe.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    recipe = str(run.folder / "recipe.yaml")
    run.snakemake("--cores", "2", "--configfile", recipe, "--touch", "--forceall")
    assert "train_model" not in run.planned(recipe)
    card = json.loads((start / "model.json").read_text())
    (start / "model.json").write_text(json.dumps(card | {"images": 1}))
    said = run.run(recipe, "--dry-run").stdout
    jobs = [
        job for job in re.split(r"\n(?=\[)", said) if "rule train_model:" in job and "wildcards: model=best-" in job
    ]
    assert len(jobs) == 2 and all("Params have changed" in job for job in jobs), jobs


@pytest.mark.long
def test_the_comparison_has_intervals_over_seeds_classes_and_the_classifiers_accuracies(path):
    results = path.folder / "results/test-diffusion4path"
    models = sorted(folder.name for folder in (results / "models").iterdir())
    assert models == ["ddpm_seed-1", "ddpm_seed-2", "ldm_seed-1", "ldm_seed-2", "vq"], "samplers share their model"
    card = json.loads((results / "models/ldm_seed-2/model.json").read_text())
    assert card["autoencoder"]["latent_spread"] > 0 and card["section"]["autoencoder"] == "vq"
    assert json.loads((results / "evaluation/reconstruction/vq.json").read_text())["psnr"]["value"] > 0
    rows = table_of(results)
    kid = [r for r in rows if (r["samples"], r["metric"], r["encoder"]) == ("main", "kid", "he-network")]
    assert [(r["combination"], r["class"]) for r in kid] == [
        (s, c) for c in ("all", "normal", "tumour") for s in ("sampler-ddpm", "sampler-eps-scaling")
    ]
    assert all(row["seeds"] == "2" and float(row["low"]) < float(row["high"]) for row in kid)
    arms = {row["metric"] for row in rows if row["metric"].startswith("accuracy")}
    assert arms == {f"accuracy, trained on {arm}" for arm in ("real", "generated", "real + generated")}
    brought = json.loads((results / "evaluation/samples/brought/utility.json").read_text())
    latent = json.loads((results / "evaluation/samples/latent_seed-1/utility.json").read_text())
    assert brought["arms"]["real"] == latent["arms"]["real"], "one training of the real arm serves all"
    assert sum(row["metric"] == "class recognised" for row in rows) == 3, (
        "of each set of samples: two of main, and latent"
    )
    utility = json.loads((results / "evaluation/samples/main_sampler-ddpm_seed-1/utility.json").read_text())
    assert utility["classes"] == ["normal", "tumour"] and len(utility["arms"]["real"]["accuracy"]) == 2
    splits = (results / "patches/tiles/splits.tsv").read_text().splitlines()[1:]
    assert len(splits) == 72 and sum("validation" in line for line in splits) == round(0.34 * 72)
    with h5py.File(results / "samples/main_sampler-ddpm_seed-1/samples.h5") as file:
        assert set(read_texts(file, "label")) == {"normal", "tumour"} and (file["mpp"][:] == 1.75).all()


@pytest.mark.long
def test_the_report_shows_the_study(path):
    page = (path.folder / "results/test-diffusion4path/report.html").read_text()
    assert "sampler-eps-scaling" in page and "trained on real + generated" in page
    assert "differ in nothing besides" in page
    (arm,) = json.loads((path.folder / "results/test-diffusion4path/study/arms.json").read_text())
    assert arm["options"] == ["ddpm", "eps-scaling"] and arm["named"] == ["sampler"] and not arm["besides"]


@pytest.mark.long
def test_what_is_handed_on_holds_no_real_patch(path, tmp_path):
    command = [
        sys.executable,
        "-m",
        "histogenesis",
        "share",
        "results/test-diffusion4path",
        "--out",
        str(tmp_path / "c.zip"),
    ]
    subprocess.run(command, check=True, cwd=path.folder, env={**os.environ, "PYTHONPATH": str(path.root / "src")})
    names = zipfile.ZipFile(tmp_path / "c.zip").namelist()
    assert any(name.endswith("samples/main_sampler-ddpm_seed-1/samples.h5") for name in names), (
        "drawn patches are in it"
    )
    real = ("patches/tiles/tiles.h5", "closest_pairs.png", "reconstruction/vq.png", "models/vq/samples.png")
    assert not [name for name in names if name.endswith(real)]


@pytest.mark.long
def test_nothing_is_left_to_do_and_a_touch_changes_nothing(copied):
    for file in (copied.folder / "tiles").rglob("*"):
        file.touch()
    assert copied.planned(PATH) == {}


@pytest.mark.long
def test_changing_one_cell_reruns_that_cell(copied):
    def change(values):
        values["study"]["grid"]["samples.main.sampler"]["eps-scaling"]["steps"] = 4

    each = {"draw_samples": 2, "evaluate_samples": 2, "measure_utility": 2}
    assert copied.planned(varied(copied, change)) == each | {"gather_study": 1, "write_recipe": 1, "write_report": 1}


@pytest.mark.long
def test_a_cell_more_leaves_the_others_alone(copied):
    def change(values):
        values["study"]["seeds"] = 3

    each = {"train_model": 2, "draw_samples": 3, "evaluate_samples": 3, "measure_utility": 3}
    assert copied.planned(varied(copied, change)) == each | {"gather_study": 1, "write_recipe": 1, "write_report": 1}


@pytest.mark.long
def test_a_picture_that_changes_reruns_all_that_was_learnt_from_it(copied):
    picture("normal", 999, 16).save(copied.folder / "tiles/normal/0_0.png")
    planned = copied.planned(PATH)
    assert planned["read_labelled"] == 1 and planned["train_model"] == 5 and "write_recipe" not in planned


@pytest.mark.long
def test_a_class_that_is_told_otherwise_trains_what_is_told_it(copied):
    (copied.folder / "tiles/embeddings.csv").write_text("normal,1,0,0.5\ntumour,-1,0.3,0\n")
    planned = copied.planned(PATH)
    assert planned["train_model"] == 2 and "read_labelled" not in planned, "the latent model with two seeds"
