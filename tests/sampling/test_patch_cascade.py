"""Patches that a cascade draws: each network is given what the one before has drawn, and another noise."""

import numpy as np
import pytest
import torch

from histogenesis.models.model import Normalisation, build_model
from histogenesis.recipe import Model, RecipeError, Samples, load_recipe, parse_recipe
from histogenesis.recipe.extending import read_recipe
from histogenesis.sampling.patches import sample_batch, sample_patches

CASCADE = [{"model": "small", "tile_px": 8, "sampler": {"kind": "ddim", "steps": 3}}]
SECTION = Samples.model_validate(
    {
        "model": "large",
        "images": 3,
        "batch": 4,
        "cascade": CASCADE,
        "lowres_noise": 0.0,
        "sampler": {"kind": "ddim", "steps": 3},
    }
)


def model(factor=None):
    section = {
        "patches": "p",
        "network": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1},
        "objective": {"kind": "v", "timesteps": 20},
        "conditions": ["lowres"] if factor else [],
        "lowres_factor": factor,
        "training": {"steps": 1},
    }
    torch.manual_seed(0)
    made = build_model(Model.model_validate(section), 32, Normalisation.unit()).eval()
    for w in made.network.parameters():
        torch.nn.init.normal_(w, std=0.05)
    return made


class Enlarges(torch.nn.Module):
    """A network that answers with the picture that it is given beside the noisy one: D = lowres, as v at any noise."""

    def __init__(self, own):
        super().__init__()
        self.own = own

    def forward(self, x, sigma, mpp, key=None, cond_image_bchw=None, lowres_noise_b=None, label_b=None):
        self.given, self.level, self.mpp = cond_image_bchw, lowres_noise_b, mpp
        return cond_image_bchw

    def __getattr__(self, name):
        return super().__getattr__(name) if name in ("own", "_modules") else getattr(self.own, name)


def test_the_last_network_enlarges_what_the_first_has_drawn():
    small, large = model(), Enlarges(model(4))
    drawn = sample_batch([small, large], SECTION, None, range(3), 32, 0.5, "cpu")
    assert drawn.shape == (3, 32, 32, 3)
    alone = SECTION.model_copy(update={"cascade": [], "sampler": SECTION.cascade[0].sampler, "size_px": 8})
    assert torch.all(large.mpp == 0.5) and torch.all(large.level == 0)
    blocks = drawn.reshape(3, 8, 4, 8, 4, 3).mean(axis=(2, 4))
    first = large.given.reshape(4, 3, 8, 4, 8, 4).mean(dim=(3, 5))[:3].permute(0, 2, 3, 1).numpy() * 127.5 + 127.5
    assert np.abs(blocks - first.clip(0, 255)).max() < 1
    by_itself = sample_batch([small], alone, None, range(3), 8, 2.0, "cpu")
    assert not np.array_equal(by_itself, sample_batch([small], alone, None, range(1, 4), 8, 2.0, "cpu"))
    assert np.corrcoef(blocks.ravel(), by_itself.astype(float).ravel())[0, 1] < 0.9, "its noise is its own in a cascade"


def test_the_batch_changes_no_picture_and_a_stopped_drawing_goes_on(tmp_path):
    models = [model(), model(4)]
    section = SECTION.model_copy(update={"lowres_noise": 0.2, "images": 6})
    whole, _ = sample_patches(models, section, [None], 32, 0.5, tmp_path / "whole", "cpu")
    assert np.array_equal(sample_batch(models, section, None, range(4, 6), 32, 0.5, "cpu"), whole[4:])
    assert len({one.tobytes() for one in whole}) == 6


def test_outpainting_s_recipe_draws_the_patches_of_lrdm(root):
    samples = load_recipe(root / "config/outpainting.yaml").samples["lrdm"]
    assert [(name, px) for name, px, _ in samples.networks] == [("m2-64", 64), ("m2-256", 256), ("m2-1024", None)]
    assert samples.images == 10_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cascade": []}, "'m2-1024' is told pictures: .* here there is none, which a `cascade` would give"),
        (
            {"cascade": [{"model": "m2-64", "tile_px": 64}]},
            "'m2-1024' is told .*beside one at 1/4 .*, and here there is one at 1/16",
        ),
        ({"cascade": [{"model": "m9", "tile_px": 64}]}, "no model 'm9'"),
        ({"model": "m2-64", "size_px": 64, "compare": "m2-64"}, "'m2-64' enlarges 256 px to 64 px"),
    ],
)
def test_a_cascade_that_does_not_fit_is_refused(root, change, message):
    values = read_recipe(root / "config/outpainting.yaml")
    values["samples"]["lrdm"] |= change
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)
