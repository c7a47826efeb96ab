"""What an estimate counts of samples, classifiers and winners: by the closed form of what a recipe says."""

import json

import pytest

from histogenesis.models.costs import cost
from histogenesis.recipe import load_recipe
from histogenesis.steps.estimate import classifiers, flop_of, samples, trainings


@pytest.fixture(scope="module")
def published(root):
    return load_recipe(root / "config/published/diffusion4path.yaml")


def test_samples_are_counted_for_each_class_and_evaluation(published):
    parts = {part.what.removeprefix("samples "): part for part in samples(published)}
    assert set(parts) == set(published.samples)
    ancestral = parts["main_model-ddpm_sampler-ddpm"]
    assert ancestral.count == 5 * 1000 and ancestral.evaluations == 5 * 1000 * 1000 * 2, (
        "guided: with and without a class"
    )
    one = cost(published.models["ddpm"], 128).flop
    assert ancestral.flop == pytest.approx(ancestral.evaluations * one)
    assert parts["main_model-ddpm_sampler-ddim"].evaluations == ancestral.evaluations / 20
    assert parts["prompted_size-224px"].flop > 2.9 * parts["prompted_size-128px"].flop


def test_the_real_arm_is_trained_once_for_each_patch_set(published, root):
    (part,) = classifiers(published)
    sets = {published.compared_with(name) for name in published.samples}
    assert sets == {"fov224", "fov336", "px64", "px96", "px160", "px224"}
    assert part.count == 2 * len(published.samples) + len(sets) == 42
    ours = load_recipe(root / "config/diffusion4path.yaml")
    (part,) = classifiers(ours)
    assert part.count == 3 * (2 * 4 * 3 * 3 + 2), "samples whose `tstr` is false teach nobody"


def test_winners_and_autoencoders_cost_too(published, root):
    son = load_recipe(root / "config/published/son.yaml")
    found = {part.what: part for part in trainings(son)}
    dearest = max(part.flop / part.evaluations for part in found.values())
    best = found["train best-positive"]
    assert best.count == 64 * 250_800 and best.flop / best.evaluations == pytest.approx(dearest, rel=0.01)
    assert next(p for p in trainings(published) if p.what == "train vq").flop > 0


def test_what_a_model_that_ships_draws_is_counted(root):
    """A tile of 32 px, by the network that its model.json describes, and that of the weaker one."""
    recipe = load_recipe(root / "config/gut.yaml")
    own, weak = (
        cost(json.loads((root / f"pretrained/gut-he-cells-{name}/model.json").read_text())["section"], 32).flop
        for name in ("v2", "weak-v1")
    )
    for level in recipe.synthetic.levels[4:]:
        assert flop_of(recipe, level, 32) == own + weak > 2 * own > 1e8
