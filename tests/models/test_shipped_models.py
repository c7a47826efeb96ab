"""The models that ship: whole, small enough, described, and better at tissue than what knows no picture."""

import json
import re

import numpy as np
import pytest
import torch

from histogenesis.models.conditions import low_resolution
from histogenesis.models.model import load_model
from histogenesis.models.shipped import folder_of, shipped_names
from histogenesis.recipe import load_recipe
from histogenesis.slides.read import open_slide


def test_some_ship():
    wanted = {"gut-he-layout-v3", "gut-he-glands-v2", "gut-he-cells-v2"}
    assert wanted | {"gut-he-layout-v1", "gut-he-glands-weak-v1", "gut-he-cells-weak-v1"} <= set(shipped_names())
    assert sum(file.stat().st_size for name in shipped_names() for file in folder_of(name).iterdir()) < 40 << 20


@pytest.mark.parametrize("name", shipped_names())
def test_it_is_whole_small_and_described(name):
    folder = folder_of(name)  # which checks the sums
    assert (folder / "SHA256SUMS").is_file()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 16 << 20
    card, facts = (folder / "README.md").read_text(), json.loads((folder / "model.json").read_text())
    for said in (
        "Pathology Atlas",
        "OSF DOI 10.17605/OSF.IO/6W5K8",
        f"{facts['images']:,} images",
        f"{facts['parameters']:,}",
    ):
        assert said in card.replace("\n", " "), said


TAUGHT = [
    ("gut-he-cells-v2", 2.0),
    ("gut-he-cells-v2", 0.5),
    ("gut-he-layout-v1", 4.0),
    ("gut-he-layout-v3", 16.0),
    ("gut-he-glands-v2", 8.0),
    ("gut-he-glands-v2", 4.0),
    ("gut-he-glands-weak-v1", 8.0),
    ("gut-he-cells-weak-v1", 1.0),
]


@pytest.mark.parametrize("name,mpp", TAUGHT)
def test_it_denoises_tissue_that_it_never_saw(name, mpp, cmu_slide):
    """Better than shrinking each pixel towards the mean, which is the best that knows mean and spread alone; on skin."""
    model = load_model(folder_of(name))
    with open_slide(cmu_slide) as slide:
        picture = slide.overview(mpp)
    step = 32 if mpp < 8 else 8  # a coarse picture is small
    crops = [
        picture[y : y + 32, x : x + 32]
        for y in range(0, len(picture) - 31, step)
        for x in range(0, picture.shape[1] - 31, step)
    ]
    crops = np.stack([crop for crop in crops if (crop.mean(axis=-1) < 200).mean() > 0.6][:32])
    x = model.normalisation.encode(torch.from_numpy(crops.transpose(0, 3, 1, 2)))
    sigma = 0.5
    noisy = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    cond = {}
    if "lowres" in model.conditions:  # it is shown the level above, too
        cond = {"cond_image_bchw": low_resolution(x, 2), "lowres_noise_b": torch.zeros(len(x))}
    with torch.inference_mode():
        estimate = model(noisy, torch.full((len(x),), sigma), torch.full((len(x),), mpp), **cond)
    mean, var = x.mean(dim=(0, 2, 3), keepdim=True), x.var(dim=(0, 2, 3), keepdim=True)
    shrunk = mean + (noisy - mean) * var / (var + sigma**2)
    assert ((estimate - x) ** 2).mean() < 0.6 * ((shrunk - x) ** 2).mean()


@pytest.mark.parametrize("name", shipped_names())
def test_its_recipe_is_the_one_that_its_card_names(name, root):
    """Network, noise, conditions and mpps are those of that recipe's model, and its training is no longer."""
    card, facts = (folder_of(name) / "README.md").read_text(), json.loads((folder_of(name) / "model.json").read_text())
    named = re.search(r"recipe `([^`]+)`, model `([^`]+)`", card)
    assert named, "the card names no recipe and model"
    recipe = load_recipe(root / named[1])
    model = recipe.trained_models[named[2]]
    section = model.model_dump(mode="json")
    assert facts["mpps"] == recipe.patches[model.patches].mpps
    assert facts["conditions"] == section["conditions"]
    for part in ("network", "objective"):
        mine = {key: value for key, value in section[part].items() if value is not None}
        assert mine == {key: value for key, value in facts[part].items() if value is not None}
    for key in ("batch", "lr", "crop_px", "decay_after_steps", "ema_half_life_images", "precision"):
        assert section["training"][key] == facts["section"]["training"][key], key
    assert facts["steps"] <= section["training"]["steps"]
    assert facts["images"] == facts["steps"] * section["training"]["batch"]


@pytest.mark.parametrize("name", shipped_names())
def test_its_card_and_the_table_of_all_say_what_was_measured(name, root):
    """As benchmarks/cards.py wrote it: with its interval, and with what would have been found; else that it was not asked."""
    found = json.loads((folder_of(name) / "measured.json").read_text())
    card = " ".join((folder_of(name) / "README.md").read_text().split())
    page = (root / "docs/measurements/pretrained.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
    loss, places = found["membership"], found["membership"]["places"]
    span = f"{places['low']:.2f} to {places['high']:.2f}"
    assert f"AUC {loss['auc']:.2f} (95 % {span} over places of the slides; {loss['n_train']} patches each" in card
    assert loss["low"] is None and "over patients no interval" in card
    assert max(loss["auc"], places["high"]) <= 0.6 or "over 0.6" in card
    assert f"| {loss['auc']:.2f} ({span}) |" in row
    if planted := found.get("planted"):
        assert f"from {planted['before']:.2f} to {planted['after']:.2f}" in card
        assert f"| {planted['before']:.2f} to {planted['after']:.2f} |" in row
    else:
        assert "What the loss would have shown was not measured" in card
    if copies := found.get("copies"):
        power = f"{100 * copies['power']['found']:.0f} %"
        assert copies["searched"] == copies["of"]
        assert f"{copies['searched']:,} training patches" in card and f"{copies['n_generated']} that it drew" in card
        assert ("No copy was found" in card) == (copies["verdict"] == "clear")
        assert f"in {power} of trials" in card and f"{copies['searched']:,}, {power}" in row
    else:
        assert "cards.py` did not look for copies" in card
    for mpp, scores in found.get("scores", {}).items():
        kid, told = (scores[key]["value"] for key in ("kid", "c2st"))
        assert f"{mpp} µm/px: {kid:.2f} ({scores['kid']['floor']:.2f}), {100 * told:.0f} %" in card
