"""What an estimate counts of samples, classifiers and winners: by the closed form of what a recipe says."""

import json
from math import inf

import pytest
import torch
from torch import nn

from histogenesis.canvas.memory import drawing_mb, state_of
from histogenesis.commands.estimate import in_precisions
from histogenesis.core.sigmas import has_history
from histogenesis.models.costs import cost, counted
from histogenesis.recipe import Level, load_recipe
from histogenesis.sampling.solvers import SAMPLERS, solver_evaluations
from histogenesis.steps.estimate import Estimate, classifiers, patch_sets, samples, trainings
from histogenesis.steps.estimate_drawing import costs_of, drawings
from histogenesis.steps.work import CARDS


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
        asked = costs_of(recipe, level, 32)
        assert sum(one.flop * times for one, times in asked) == own + weak > 2 * own > 1e8


def of_level(**changes):
    values = {"mpp": 0.5, "model": "m", "tile_px": 512, "batch": 8, "sampler": {"kind": "dpmpp-2m", "steps": 8}}
    return Level.model_validate(values | changes)


def test_a_drawing_asks_for_the_memory_of_its_own_state():
    """By hand, of 16,384 px: two planes of three colours in 4 bytes and a sixteenth, twice; the level above; 4 GB."""
    plane, size_px = 3 * 4 * 16384**2 * 17 / 16, (16384, 16384)
    planes = {"dpmpp-2m": 2, "heun": 2, "euler": 1, "ddpm": 1}
    for kind, count in planes.items():
        level = of_level(sampler={"kind": kind, "steps": 8})
        assert state_of(level, size_px) == count * plane
        assert 1e6 * drawing_mb(level, size_px) == pytest.approx(2 * count * plane + 16384**2 + 4e9)
    assert state_of(of_level(state="bf16"), size_px) == plane
    assert state_of(of_level(joining={"kind": "average", "stride_px": 256}), size_px) == 6 * plane
    assert state_of(of_level(), size_px, latent_px=4) == 2 * plane / 16
    inpainted = of_level(joining={"kind": "inpaint", "stride_px": 384})
    assert state_of(inpainted, size_px) == 0
    assert drawing_mb(inpainted, size_px) == drawing_mb(inpainted, (2048, 2048)), (
        "a batch of tiles, whatever the canvas"
    )
    assert drawing_mb(of_level(), (65536, 65536)) == pytest.approx(4000 + 4e-6 * 65536**2), "its state lies in files"


def test_solvers_that_remember_are_those_that_say_so():
    for kind in SAMPLERS:
        asked = solver_evaluations(kind, 3, timestep_spacing="karras")
        assert any(one.has_history for one in asked) == has_history(kind), kind


def test_each_level_s_line_says_its_memory_and_what_lies_on_the_disk_meanwhile(root):
    """The full recipe's levels at 1 and 0.5 mpp: the one in 60 GB, the other in files and 21; fp32 of the state doubles it."""
    recipe = load_recipe(root / "config/harb.yaml")
    *_, one, half = (part for part in drawings(recipe, 0.5) if part.what.startswith("draw level"))
    assert one.memory_gb == pytest.approx(60, rel=0.01) and half.memory_gb == pytest.approx(21, rel=0.02)
    state = 2 * 4 * 3 * 65536**2 * 17 / 16  # x and history
    assert 1e9 * half.state_gb == pytest.approx(state), "in bf16, twice in files"
    levels = [level.model_copy(update={"state": "fp32"}) for level in recipe.synthetic.levels]
    larger = recipe.model_copy(update={"synthetic": recipe.synthetic.model_copy(update={"levels": levels})})
    assert 1e9 * drawings(larger, 0.5)[-2].state_gb == pytest.approx(2 * state)
    tiles = drawings(load_recipe(root / "config/test/urcdm.yaml"), 1.0)[-2]
    height, width = load_recipe(root / "config/test/urcdm.yaml").synthetic.size_px(2)
    assert 1e9 * tiles.state_gb == pytest.approx(3 * height * width), "finished tiles, a byte for each colour"


def test_fp32_is_billed_at_its_own_speed(published, root):
    """The papers' recipes are in fp32: convolutions in TF32 at 125 TFLOP/s (H100), products at 40; bytes at 2.8 TB/s."""
    part = next(part for part in trainings(published) if part.what == "train ddpm")
    batch = published.models["ddpm"].training.batch
    one = cost(published.models["ddpm"], 128, batch, half=False).over(batch)
    times = part.flop / cost(published.models["ddpm"], 128).flop
    computing = (one.flop - one.products) / 125e12 + one.products / 40e12
    assert part.seconds(CARDS["H100"]) == pytest.approx(times * max(computing, one.bytes_fused / 2.8e12))
    whole = Estimate([part])
    assert whole.precisions == {"fp32": 1.0} and "TF32" in in_precisions(whole.precisions)
    assert whole.hours(CARDS["H100"]) > 2 * part.flop / 250e12 / 3600, "more than twice what bf16 would take"
    ours = next(iter(trainings(load_recipe(root / "config/harb.yaml"))))
    assert ours.precision == "bf16" and ours.seconds(CARDS["V100"]) == inf, "which has none"
    assert ours.seconds(CARDS["H100"]) == pytest.approx(max(ours.flop / 250e12, ours.bytes / 2.8e12))
    assert in_precisions({"bf16": 1.0}) == "All of it in bf16."


def test_weights_are_read_once_for_a_batch(published):
    """Of the latent model's 305 M weights, at a batch of 32, each picture answers for a thirty-second."""
    part = next(part for part in trainings(published) if part.what == "train ldm")
    alone, batch = cost(published.models["ldm"], 128 // 4, half=False), published.models["ldm"].training.batch
    assert alone.parameters > 250e6
    spared = alone.bytes_fused - part.bytes / part.flop * alone.flop
    assert spared == pytest.approx(4 * alone.parameters * (1 - 1 / batch), rel=0.1)


def test_what_is_a_matrix_product_is_counted_apart():
    """A convolution of 3 x 3 from 3 to 8 channels on 16 px, and a matrix that makes 10 numbers of what it gives."""
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 16**2, 10))
        found = counted(network, torch.zeros(1, 3, 16, 16))
    assert found.products == 2 * 8 * 16**2 * 10 and found.flop == found.products + 2 * 9 * 3 * 8 * 16**2


def test_regions_give_so_many_patches_of_each_class(published):
    """100 a slide, class and mpp, of five classes, where a patch fits."""
    (part,) = [part for part in patch_sets(published, {"s": (40_000, 40_000, 0.25)}) if part.what == "patches fov224"]
    patches = published.patches["fov224"]
    assert len(patches.classes) == 5 and part.count == 5 * patches.per_slide * len(patches.mpps)
