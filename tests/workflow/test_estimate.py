"""What `histogenesis estimate` says before a run, against what the run then took: within two times."""

import json
import time

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.models.batches import Batches
from histogenesis.models.costs import cost
from histogenesis.models.model import build_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.training import Trainer
from histogenesis.recipe import Level, Model, load_recipe
from histogenesis.report.cost import tiles_of
from histogenesis.steps.estimate import estimate, jobs
from histogenesis.steps.work import measured_speed

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def recipe(root):
    return load_recipe(root / "config/test/harb.yaml")


@pytest.fixture(scope="module")
def before(recipe, tmp_path_factory):
    """Of the tiny recipe, where nothing has run."""
    return estimate(recipe, tmp_path_factory.mktemp("nothing"))


def within_twice(said, was):
    return was / 2 <= said <= 2 * was


def test_patches_disk_and_files(before, finished, recipe):
    run = finished.folder / "results" / recipe.run
    patches = 0
    for path in run.glob("patches/main/*.h5"):
        with h5py.File(path) as file:
            patches += len(file["imgs"])
    assert within_twice(before.parts[0].count, patches)
    assert within_twice(1e9 * before.parts[0].disk_gb, 3 * 16**2 * patches)
    weights = (run / "models/shared/model.safetensors").stat().st_size
    state = next(run.glob("state/train/shared/*/checkpoint.safetensors")).stat().st_size
    training = next(part for part in before.parts if part.what.startswith("train"))
    assert within_twice(1e9 * training.disk_gb, weights) and within_twice(1e9 * training.state_gb, state)
    levels = sum(3 * np.prod(LevelFile(path).shape) for path in run.glob("synthetic/*/level*.h5"))
    assert within_twice(1e9 * sum(p.disk_gb for p in before.parts if p.what.startswith("draw")), levels)
    assert within_twice(before.files, sum(path.is_file() for path in run.rglob("*")))


def test_evaluations(before, finished, recipe):
    """Those that its levels' plans then had, with the tissue that there was."""
    synthetic = finished.folder / "results" / recipe.run / "synthetic"
    for k, part in enumerate(p for p in before.parts if p.what.startswith("draw level")):
        taken = 0
        for slide in recipe.synthetic.names:
            plan = np.asarray(Image.open(synthetic / slide / "plan.png")) > 127
            above = synthetic / slide / f"level{k - 1}.h5" if k else None
            taken += sum(times for _, times in tiles_of(recipe, k, slide, plan, above))
        assert within_twice(part.evaluations, taken), k


def test_jobs_are_those_that_snakemake_plans(finished, recipe, tmp_path, monkeypatch):
    from histogenesis.commands.run import command

    monkeypatch.chdir(tmp_path)
    said = jobs(command(finished.root / "config/test/harb.yaml"))
    ran = sum(path.is_file() for path in (finished.folder / "results" / recipe.run / "logs").rglob("*.log"))
    assert within_twice(said, ran) and said > 20


def test_time_is_the_work_over_a_measured_speed(tmp_path):
    """Processor time of a training, against what its FLOP take at the speed of a few evaluations."""
    torch.set_num_threads(1)
    network = {"channels": 32, "multipliers": [1, 2], "blocks": 1, "attention_px": [16], "heads": 2, "dropout": 0.0}
    training = {"steps": 12, "batch": 8, "precision": "fp32", "validate_every": 100}
    model = Model.model_validate({"patches": "p", "network": network, "training": training})

    class Patches:
        patch_px, mpp, label = 32, np.ones(16), np.array([""] * 16)
        images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)

        def __len__(self):
            return 16

        def read(self, indices):
            return self.images[indices]

    tflops = measured_speed(model, 32, "cpu", "fp32", time.process_time)
    said = 3 * cost(model, 32).flop * 12 * 8 / tflops / 1e12
    denoiser = build_model(model, 32, Normalisation.unit())
    batches = Batches(Patches(), Normalisation.unit(), denoiser.objective.sample_sigma, 1, True)
    trainer = Trainer(denoiser, model, batches, tmp_path, "d", "cpu")
    begin = time.process_time()
    trainer.run(None, None)
    assert within_twice(said, time.process_time() - begin)


def test_time_of_a_drawing_is_the_work_over_a_measured_speed(tmp_path):
    """Processor time of a level of 16 tiles, against the FLOP of its evaluations at the speed of a few of them."""
    torch.set_num_threads(1)
    network = {"channels": 32, "multipliers": [1, 2], "blocks": 1, "attention_px": [16], "heads": 2, "dropout": 0.0}
    model = Model.model_validate({"patches": "p", "network": network, "training": {"steps": 1, "batch": 8}})
    sampler = {"kind": "dpmpp-2m", "steps": 6}
    section = {
        "mpp": 1,
        "model": "m",
        "tile_px": 32,
        "batch": 8,
        "joining": {"kind": "independent"},
        "sampler": sampler,
    }
    speed = measured_speed(model, 32, "cpu", "fp32", time.process_time)
    said = 16 * 6 * cost(model, 32).flop / speed / 1e12
    denoiser = build_model(model, 32, Normalisation.unit()).eval()
    d = Drawing(
        Level.model_validate(section), (128, 128), 0, 1, "s", [Bundle(denoiser, denoiser.normalisation, ("mpp",))]
    )
    begin = time.process_time()
    d.run(tmp_path / "state", place="host", save_every_s=1e9)
    assert within_twice(said, time.process_time() - begin)


def test_what_the_networks_cost_is_what_is_known_of_them(root):
    """132.21 GMAC and 32.41 M weights at 512 px: EDM's SongUNet at the paper's table, and what tells the mpp."""
    found = cost(load_recipe(root / "config/harb.yaml").trained_models["shared"], 512)
    assert found.flop / 2 == pytest.approx(132.2105e9, rel=1e-6) and found.parameters == 32_408_771
    assert found.bytes_fused < found.bytes_eager


def test_the_command_says_it(root, capsys, monkeypatch, tmp_path):
    from histogenesis.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["histogenesis", "estimate", str(root / "config/test/harb.yaml"), "--no-jobs", "--json"]
    )
    main()
    said = json.loads(capsys.readouterr().out)
    assert said["peak_disk_gb"] > said["disk_gb"] > 0 and set(said["hours"]) >= {"H100"}
