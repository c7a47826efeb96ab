"""A class-conditional slide is a recipe: slides have classes, the model is told them, a level names one."""

import json

import h5py
import numpy as np
import pytest
import yaml

from histogenesis.patches.store import read_texts

from .conftest import Run

pytestmark = pytest.mark.workflow
RECIPE = "config/test/harb-classes.yaml"


@pytest.fixture(scope="module")
def classes(root, tmp_path_factory) -> Run:
    run = Run(root, tmp_path_factory.mktemp("classes"))
    run.run(RECIPE)
    return run


def test_patches_model_and_slide_know_their_class(classes):
    results = classes.folder / "results/test-harb-classes"
    for slide, label in (("phantom_a", "benign"), ("phantom_b", "tumour")):
        with h5py.File(results / f"patches/main/{slide}.h5") as file:
            assert len(file["imgs"]) and set(read_texts(file, "label")) == {label}
    card = json.loads((results / "models/shared/model.json").read_text())
    assert card["conditions"] == ["mpp", "label"] and set(card["classes"]) <= {"benign", "tumour"}
    with h5py.File(results / "synthetic/synthetic_001/level1.h5") as file:
        assert file["image"].shape == (64, 64, 3) and np.ptp(file["image"][:]) > 0


def test_another_class_is_drawn_by_the_same_model(classes):
    values = yaml.safe_load((classes.root / RECIPE).read_text())
    for level in values["synthetic"]["levels"]:
        level["label"] = "benign"
    recipe = classes.folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    planned = classes.planned(str(recipe))
    assert planned["draw_level"] == 2 and not {"train_model", "cut_patches", "make_phantom"} & set(planned)
    values["slides"]["phantoms"][0]["label"] = "tumour"
    recipe.write_text(yaml.safe_dump(values))
    planned = classes.planned(str(recipe))
    assert planned["train_model"] == 1 and planned["cut_patches"] == 1 and "make_phantom" not in planned
