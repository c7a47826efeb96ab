"""The arms of the studies that we ship: two that differ in one axis differ in what that axis is about and nothing besides."""

import itertools

import pytest
import torch
from torch.overrides import TorchFunctionMode

from histogenesis.models.model import build_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.recipe import load_recipe

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
    "model.training.sample_every",
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
}


class Attends(TorchFunctionMode):
    """Counts the attentions of a forward."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.nn.functional.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def whole(recipe, kind, name):
    """A patch set, model or samples with what they name in the names' place, and without what reports or seeds."""
    section = getattr(recipe, kind)[name].model_dump(mode="json")
    section.pop("seed", None)
    if kind == "models":
        section["patches"] = whole(recipe, "patches", section["patches"])
        if section["autoencoder"]:
            section["autoencoder"] = whole(recipe, "models", section["autoencoder"])
        section["training"].pop("seed")
    if kind == "samples":
        section["model"] = whole(recipe, "models", section["model"])
        section["compare"] = section["compare"] and whole(recipe, "patches", section["compare"])
    return section


def differences(a, b, here=""):
    """The keys in which two sections differ; where one lacks a section, or has another kind of it, that section."""
    if not (isinstance(a, dict) and isinstance(b, dict)) or set(a) != set(b) or a.get("kind") != b.get("kind"):
        return set() if a == b else {here}
    return set().union(*(differences(a[k], b[k], f"{here}.{k}".strip(".")) for k in a))


def pairs(recipe, axis):
    """Samples of two cells that differ in one axis alone."""
    for one, other in itertools.combinations(recipe.study.cells, 2):
        apart = {k for k in one.values if one.values[k] != other.values[k]}
        if apart == {axis} and one.seed == other.seed:
            for name in one.samples:
                if one.samples[name] != other.samples[name]:
                    yield one.samples[name], other.samples[name]


@pytest.mark.parametrize(("study", "axis"), [(s, a) for s, axes in STUDIES.items() for a in axes])
def test_arms_differ_in_what_the_study_is_about(root, study, axis):
    recipe = load_recipe(root / f"config/{study}.yaml")
    found = [differences(whole(recipe, "samples", a), whole(recipe, "samples", b)) for a, b in pairs(recipe, axis)]
    assert found
    for one in found:
        besides = {
            key for key in one if not any(key == may or key.startswith(f"{may}.") for may in STUDIES[study][axis])
        }
        assert one and not besides, f"{study}: arms of {axis} differ in {sorted(besides)} besides"


@pytest.mark.parametrize("study", ["published/diffusion4path", "diffusion4path"])
def test_models_of_two_fields_of_view_differ_in_the_field_alone(root, study):
    recipe = load_recipe(root / f"config/{study}.yaml")
    seed = "_seed-1" if recipe.study.seeds > 1 else ""
    one = {name: f"{name}{seed}" for name in ("ddpm", "ddpm-336", "ldm", "ldm-336")}
    section = {name: whole(recipe, "models", full) for name, full in one.items()}
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
