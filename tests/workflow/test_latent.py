"""Slides in a latent space are a recipe: levels of an autoencoder's latents, and a level of pixels below them."""

import json

import h5py
import numpy as np
import openslide
import pytest
import yaml

from .conftest import Run

pytestmark = pytest.mark.workflow
RECIPE = "config/test/latent.yaml"
SLIDE = ("--", "results/test-latent/synthetic/synthetic_001.tif")  # what is measured of it is no other than elsewhere


@pytest.fixture(scope="module")
def latent(root, tmp_path_factory) -> Run:
    run = Run(root, tmp_path_factory.mktemp("latent"))
    run.run(RECIPE, *SLIDE)
    return run


def test_the_slide_is_drawn_from_latents_to_pixels(latent):
    results = latent.folder / "results/test-latent"
    images = []
    for k in range(3):
        with h5py.File(results / f"synthetic/synthetic_001/level{k}.h5") as file:
            images.append(file["image"][:].astype(float))
            assert images[k].shape == (32 * 2**k, 48 * 2**k, 3) and images[k].std() > 0
    back = images[2].reshape(64, 2, 96, 2, 3).mean(axis=(1, 3))
    inside = ((images[2] > 0) & (images[2] < 255)).reshape(64, 2, 96, 2, 3).all(axis=(1, 3))
    assert inside.any() and np.abs(back - images[1])[inside].max() <= 0.5, (
        "pixels average back to the picture of latents"
    )
    with openslide.OpenSlide(results / "synthetic/synthetic_001.tif") as slide:
        assert slide.dimensions == (192, 128)
    card = json.loads((results / "models/finer/model.json").read_text())
    assert card["section"]["autoencoder"] == "vq" and card["conditions"] == ["mpp", "lowres"]
    assert not list((results / "state").glob("draw/*/*/*"))


def test_what_a_change_of_a_latent_model_reruns(latent):
    assert latent.planned(RECIPE, *SLIDE) == {}
    values = yaml.safe_load((latent.root / RECIPE).read_text())
    recipe = latent.folder / "recipe.yaml"
    values["synthetic"]["levels"][1]["lowres_noise"] = 0.1
    recipe.write_text(yaml.safe_dump(values))
    planned = latent.planned(str(recipe), *SLIDE)
    assert planned["draw_level"] == 2 and "train_model" not in planned, "the level and what lies below it"
    values["models"]["vq"]["training"] = {**values["models"]["vq"]["training"], "lr": 1e-2}
    recipe.write_text(yaml.safe_dump(values))
    planned = latent.planned(str(recipe), *SLIDE)
    assert planned["train_model"] == 3 and planned["draw_level"] == 3, "the autoencoder, and both models in its space"


def test_a_latent_model_of_another_run_draws_a_level(latent):
    """It is looked at when it is taken: what a latent level cannot is said then."""
    values = yaml.safe_load((latent.root / RECIPE).read_text()) | {"run": "taking"}
    values["models"] = {"coarse": {"path": "results/test-latent/models/coarse"}}
    values["synthetic"]["levels"] = values["synthetic"]["levels"][:1]
    values["synthetic"]["levels"][0]["size_px"] = [32, 42]
    values["evaluation"]["patches"] = "main"
    recipe = latent.folder / "taking.yaml"
    recipe.write_text(yaml.safe_dump(values))
    level = "results/taking/synthetic/synthetic_001/level0.h5"
    done = latent.run(str(recipe), "--", level, check=False)
    assert done.returncode and "width 42 is not a multiple of 4; use 40 or 44" in done.stdout + done.stderr
    values["synthetic"]["levels"][0]["size_px"] = [32, 48]
    recipe.write_text(yaml.safe_dump(values))
    latent.run(str(recipe), "--", level)
    with (
        h5py.File(latent.folder / level) as taken,
        h5py.File(latent.folder / "results/test-latent/synthetic/synthetic_001/level0.h5") as own,
    ):
        assert np.array_equal(taken["image"], own["image"]), "the same model, seed and slide"
