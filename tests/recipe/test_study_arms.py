"""The arms of the studies that we ship: two that differ in one axis differ in what that axis is about and nothing besides."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from histogenesis.models.model import build_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.recipe import load_recipe
from histogenesis.recipe.arms import differences, study_arms, written_out

SAMPLER = {"sampler"}
FIELD = {"model.patches.size_px"}
BETWEEN_FIELDS = FIELD | {"model.autoencoder.patches.size_px"}
PIXELS_OR_LATENTS = {  # what Diffusion4Path compares is two whole recipes, and all of this besides the space it draws in
    "model.autoencoder",
    "model.network",
    "model.objective",
    "model.training.batch",
    "model.training.clip_gradient",
    "model.training.cosine_to",
    "model.training.lr",
    "model.training.steps",
    "model.training.warmup_steps",
}
STUDIES = {  # recipe -> axis -> keys in which its options may differ
    "published/son": {
        "schedule": {"model.objective.schedule"},
        "attention_channels": {"model.network.attention_channels"},
    },
    "son": {"schedule": {"model.objective.schedule"}, "attention_channels": {"model.network.attention_channels"}},
    "colon/son": {"schedule": {"model.objective.schedule"}, "attention_channels": {"model.network.attention_channels"}},
    "published/diffusion4path": {"sampler": SAMPLER, "size": {"size_px", "compare.size_px"}},
    "diffusion4path": {"sampler": SAMPLER, "size": {"size_px", "compare.size_px"}},
    # Which way is best that two cores can pay: latents have an autoencoder, a network of their own size, and half the steps.
    "colon/diffusion4path": {
        "way": SAMPLER
        | {"model.autoencoder", "model.network.channels", "model.network.attention_px", "model.training.steps"}
    },
}


class Attends(TorchFunctionMode):
    """Counts the attentions of a forward."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("study", "axis"), [(s, a) for s, axes in STUDIES.items() for a in axes])
def test_arms_differ_in_what_the_study_is_about(root, study, axis):
    recipe = load_recipe(root / f"config/{study}.yaml")
    found = [arm for arm in study_arms(recipe) if arm["axis"] == axis]
    assert found
    for arm in found:
        keys = arm["named"] + arm["besides"]
        other = {
            key for key in keys if not any(key == may or key.startswith(f"{may}.") for may in STUDIES[study][axis])
        }
        assert keys and not other, f"{study}: arms of {axis} differ in {sorted(other)} besides"


def test_every_study_that_we_ship_is_looked_at(root):
    config = root / "config"
    studies = {
        str(path.relative_to(config))[: -len(".yaml")]
        for path in config.rglob("*.yaml")
        if path.stem in {"son", "diffusion4path"}
    }
    assert {name for name in studies if not name.startswith("test/")} == set(STUDIES)


def test_what_differs_besides_is_said(root):
    """The latent model of the colon study has half the steps, and another network; both the axis does not name."""
    arms = study_arms(load_recipe(root / "config/colon/diffusion4path.yaml"))
    found = {tuple(arm["options"]): arm for arm in arms}
    assert len(found) == 10  # of five ways
    assert found["ddpm-ddpm", "ldm-ddpm"] == {
        "axis": "way",
        "samples": "main",
        "options": ["ddpm-ddpm", "ldm-ddpm"],
        "named": ["sampler.threshold"],
        "besides": [
            "model.autoencoder",
            "model.network.attention_px",
            "model.network.channels",
            "model.training.steps",
        ],
    }
    assert found["ddpm-ddpm", "ddpm-ddim"]["besides"] == []
    son = study_arms(load_recipe(root / "config/son.yaml"))
    assert [arm["besides"] for arm in son] == [[], []] and study_arms(load_recipe(root / "config/harb.yaml")) == []


@pytest.mark.parametrize("study", ["published/diffusion4path", "diffusion4path"])
def test_models_of_two_fields_of_view_differ_in_the_field_alone(root, study):
    recipe = load_recipe(root / f"config/{study}.yaml")
    seed = "_seed-1" if recipe.study.seeds > 1 else ""
    one = {name: f"{name}{seed}" for name in ("ddpm", "ddpm-336", "ldm", "ldm-336")}
    section = {name: written_out(recipe, "models", full) for name, full in one.items()}
    assert differences(section["ddpm"], section["ddpm-336"]) == {"patches.size_px"}
    assert differences(section["ldm"], section["ldm-336"]) == {"patches.size_px", "autoencoder.patches.size_px"}
    besides = {f"model.{key}" for key in differences(section["ddpm"], section["ldm"])}
    assert {k for k in besides if not any(k.startswith(may) for may in PIXELS_OR_LATENTS)} == set()
    count = {}
    for name, full in one.items():
        model = recipe.trained_models[full]
        px = recipe.patches[model.patches].size_px // model.latent_px
        with torch.device("meta"):
            network = build_model(
                model.model_copy(update={"autoencoder": None}), px, Normalisation.unit(), "abcde"
            ).network
            x, one_ = torch.zeros(1, 3, px, px), torch.zeros(1)
            with Attends() as seen, torch.no_grad():
                network.eval()(x, one_, None, None, None, one_.long())
        count[name] = seen.count
    assert count["ddpm"] == count["ddpm-336"] > 1, "the field of view is compared, and not attention"
    assert count["ldm"] == count["ldm-336"] > 1


def test_what_differs_besides_is_found():
    a = {"sampler": {"kind": "ddpm"}, "model": {"network": {"kind": "x", "heads": 4}, "lr": 1}}
    b = {"sampler": {"kind": "ddim", "eta": 0}, "model": {"network": {"kind": "x", "heads": 2}, "lr": 1}}
    assert differences(a, b) == {"sampler", "model.network.heads"}
