"""The tiny twin of `urcdm` from slides to report: nine networks, three cascades, waves dealt out to jobs."""

import json
import shutil

import h5py
import numpy as np
import openslide
import pytest

from .conftest import Run

pytestmark = pytest.mark.workflow
RECIPE = "config/test/urcdm.yaml"
MODELS = [f"m{k}-{size}" for k in range(3) for size in ("small", "middle", "large")]


@pytest.fixture(scope="module")
def twin(root, tmp_path_factory) -> Run:
    """Run from start to end once."""
    run = Run(root, tmp_path_factory.mktemp("urcdm"))
    run.run(RECIPE)
    return run


@pytest.fixture
def results(twin):
    return twin.folder / "results/test-urcdm"


def image(results, k):
    with h5py.File(results / f"synthetic/synthetic_001/level{k}.h5") as file:
        return file["image"][:], dict(file.attrs)


def test_all_nine_networks_were_trained_and_say_what_they_see(results):
    for name in MODELS:
        card = json.loads((results / f"models/{name}/model.json").read_text())
        magnified, enlarges = not name.startswith("m0"), not name.endswith("small")
        assert card["conditions"] == ["context"] * magnified + ["lowres"] * enlarges
        assert card["objective"]["kind"] == ("v" if enlarges else "eps")
        assert card["context_ratio"] == (2.5 if magnified else None)
        assert card["patch_px"] == {"small": 8, "middle": 16, "large": 16}[name.split("-")[1]], "large: crops of 16 px"
        log = [json.loads(line) for line in (results / f"models/{name}/train.jsonl").read_text().splitlines()]
        assert np.isfinite([line["loss"] for line in log if "loss" in line]).all()


def test_the_canvases_have_the_recipes_sizes_and_the_slide_opens(results):
    shapes, mpps = zip(*((found.shape, facts["mpp"]) for found, facts in (image(results, k) for k in range(3))))
    assert shapes == ((32, 32, 3), (80, 80, 3), (200, 200, 3)) and mpps == (32, 12.8, 5.12)
    assert all(image(results, k)[0].std() > 1 for k in range(3))
    with openslide.OpenSlide(results / "synthetic/synthetic_001.tif") as slide:
        assert slide.dimensions == (200, 200)
        assert float(slide.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(5.12, rel=1e-3)
    assert (results / "report.html").stat().st_size > 10_000
    coherence = json.loads((results / "evaluation/synthetic_001/coherence.json").read_text())
    assert [level["joining"]["kind"] for level in coherence["levels"]] == ["independent", "inpaint", "inpaint"]


def test_nothing_is_left_to_do_and_no_state_is_left(twin, results):
    assert twin.planned(RECIPE) == {}
    assert not list((results / "state/draw").rglob("*.npy")) and not list(results.rglob("*.shares/*"))


def test_one_job_draws_the_pixels_of_two(twin, tmp_path):
    """Two jobs drew the finest level's tiles from one queue. Drawn again by one, it is the same, pixel by pixel."""
    run = Run(twin.root, tmp_path / "run")
    shutil.copytree(twin.folder, run.folder, symlinks=True)
    results = run.folder / "results/test-urcdm"
    before, _ = image(results, 2)
    (results / "synthetic/synthetic_001/level2.h5").unlink()
    recipe = tmp_path / "one.yaml"
    text = (run.root / RECIPE).read_text()
    assert ", jobs: 2" in text
    recipe.write_text(text.replace(", jobs: 2", ""))
    target = "results/test-urcdm/synthetic/synthetic_001/level2.h5"
    planned = run.planned(recipe, target)
    assert planned == {"draw_level": 1}, "how many jobs draw it is no part of what the others depend on"
    run.run(recipe, "--rerun-incomplete", target)
    assert np.array_equal(image(results, 2)[0], before)


def test_the_papers_recipe_plans_at_full_size(root, tmp_path):
    """Nine networks, 41,344 px; four jobs draw the finest level from one queue."""
    planned = Run(root, tmp_path).planned("config/urcdm.yaml")
    assert planned["train_model"] == 9 and planned["draw_level"] == 3
    assert planned["draw_share"] == 4
