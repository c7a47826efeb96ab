"""Class labels and guidance: w = 0 is the conditional model, labels are dropped as said, epsilon scaling of 1 is none."""

import numpy as np
import pytest
import torch

from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped
from histogenesis.models.batches import Batches
from histogenesis.models.conditions import add_noise
from histogenesis.models.model import Normalisation, build_model, load_model, save_model
from histogenesis.recipe import Model, Sampler, Samples
from histogenesis.sampling.estimate import estimator
from histogenesis.sampling.guidance import at_sigma, guide, in_units_of, scale_epsilon
from histogenesis.sampling.patches import sample_batch, sample_patches
from histogenesis.sampling.solvers import solve, solver_evaluations, takes

NETWORKS = [
    {"kind": "ddpmpp", "channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1},
    {"kind": "classic-unet", "channels": 4, "multipliers": [1, 2, 4], "attention_channels": [4, 16], "heads": 2},
    {"kind": "guided-unet", "channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [8], "head_channels": 4},
    {
        "kind": "efficient",
        "channels": 8,
        "multipliers": [1, 2],
        "blocks": [1, 1],
        "attention": [False, True],
        "heads": 1,
    },
]


def section(network=NETWORKS[0], conditions=("label",), **more) -> Model:
    objective = {"kind": "eps", "schedule": "cosine", "timesteps": 50}
    values = {"patches": "p", "network": network, "conditions": list(conditions), "objective": objective} | more
    return Model.model_validate(values | {"training": {"steps": 1, "batch": 4}})


def model_of(network=NETWORKS[0], classes=("a", "b"), **more):
    torch.manual_seed(0)
    model = build_model(section(network, **more), 16, Normalisation.unit(), classes)
    for parameter in model.parameters():  # some layers start near 0, and would hide what they are told
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n["kind"])
def test_guidance_of_0_is_the_conditional_model_and_others_follow_the_equation(network):
    model = model_of(network)
    x, sigma, mpp = torch.randn(3, 3, 16, 16), torch.tensor([0.3, 1.0, 5.0]), torch.ones(3)
    of_b = model(x, sigma, mpp, label_b=torch.tensor([1, 1, 1]))
    none = model(x, sigma, mpp)
    assert torch.equal(guide(model, "b", 0.0)(x, sigma, mpp), of_b)
    assert not torch.allclose(of_b, none, atol=1e-3), "the class is heard"
    assert not torch.allclose(of_b, model(x, sigma, mpp, label_b=torch.tensor([0, 0, 0])), atol=1e-3)
    assert torch.equal(none, model(x, sigma, mpp, label_b=torch.full((3,), -1))), "a negative row is no class"
    s, w = sigma[:, None, None, None], 1.5
    eps = (1 + w) * (x - of_b) / s - w * (x - none) / s
    assert torch.allclose((x - guide(model, "b", w)(x, sigma, mpp)) / s, eps, atol=1e-4)


@pytest.mark.parametrize(
    "units", [Normalisation.unit(), Normalisation([180.0, 140.0, 190.0], 48.0, 0.5)], ids=["same", "other"]
)
def test_a_weaker_model_is_led_away_from_in_pixels_whatever_its_own_units(units):
    model = model_of(conditions=())
    weaker = model_of(conditions=())
    weaker.normalisation = units
    for parameter in weaker.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, sigma, mpp, w = torch.randn(2, 3, 16, 16), torch.tensor([0.4, 2.0]), torch.ones(2), 1.5
    pixels = x * 127.5 + 127.5
    spread = units.std / units.sigma_data  # grey levels of one unit of the weaker model
    mean = torch.tensor(units.mean)[:, None, None]
    its = weaker((pixels - mean) / spread, sigma * 127.5 / spread, mpp) * spread + mean
    own = model(x, sigma, mpp) * 127.5 + 127.5
    led = guide(model, None, w, weaker)(x, sigma, mpp) * 127.5 + 127.5
    assert torch.allclose(led, (1 + w) * own - w * its, atol=0.05)
    assert not torch.allclose(led, own, atol=1.0)


def test_the_pictures_that_both_are_shown_are_in_the_weaker_models_own_units():
    """A lower resolution with the noise that it is told of, and a wider view without."""
    own, other = Normalisation([170.0, 140.0, 180.0], 50.0, 0.5), Normalisation([180.0, 150.0, 175.0], 40.0, 1.0)
    model, weaker = (model_of(conditions=("mpp", "lowres", "context"), lowres_factor=2) for _ in "ab")
    model.normalisation, weaker.normalisation = own, other
    small, wide, noise, noise_of_it = (torch.randn(2, 3, 16, 16) for _ in range(4))
    small, wide, level = small * 40 + 160, wide * 40 + 160, torch.tensor([0.02, 0.3])
    asked = {}

    def estimate(x, sigma, mpp, **cond):
        asked.update(cond)
        return x

    as_shown = torch.cat([add_noise(own.encode(small), level, noise), own.encode(wide)], dim=1)
    cond = {"cond_image_bchw": as_shown, "lowres_noise_b": level}
    in_units_of(model, weaker, estimate)(noise_of_it, torch.ones(2), torch.ones(2), **cond)
    found, wider = asked["cond_image_bchw"].chunk(2, dim=1)
    assert torch.allclose(wider, other.encode(wide), atol=1e-4)
    assert torch.allclose(found, add_noise(other.encode(small), asked["lowres_noise_b"], noise), atol=1e-4)
    assert (asked["lowres_noise_b"][1] > level[1]) and not torch.allclose(found, as_shown[:, :3], atol=0.1)


def test_a_weaker_model_is_told_the_class_too_if_it_knows_classes():
    model, weaker, untold = model_of(), model_of(), model_of(conditions=())
    for parameter in weaker.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, sigma, mpp = torch.randn(2, 3, 16, 16), torch.tensor([0.4, 2.0]), torch.ones(2)
    of_b = {"label_b": torch.tensor([1, 1])}
    own = model(x, sigma, mpp, **of_b)
    led = guide(model, "b", 1.0, weaker)(x, sigma, mpp)
    assert torch.allclose(led, 2 * own - weaker(x, sigma, mpp, **of_b), atol=1e-5)
    assert torch.allclose(guide(model, "b", 1.0, untold)(x, sigma, mpp), 2 * own - untold(x, sigma, mpp), atol=1e-5)


def test_a_weaker_model_that_is_asked_something_else_is_refused():
    conditional = model_of(conditions=("mpp",))
    with pytest.raises(BadInput, match="weaker model has not the same conditions"):
        guide(conditional, None, 1.0, model_of(conditions=()))


def test_a_class_that_was_not_learnt_is_named():
    with pytest.raises(BadInput, match="has not learnt class 'c'; its classes are a, b"):
        guide(model_of(), "c")
    untold = model_of(conditions=())
    assert guide(untold) is untold
    with pytest.raises(BadInput, match="trained without the condition `label`"):
        guide(untold, "a")


def test_epsilon_scaling_of_1_changes_nothing_and_others_divide_the_noise():
    x, denoised = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    for values in (None, {"b": 1.0}):
        assert scale_epsilon(denoised, x, Sampler(epsilon_scaling=values), 3) is denoised
    made = scale_epsilon(denoised, x, Sampler(steps=10, epsilon_scaling={"b": 1.014}), 3)
    assert torch.allclose(x - made, (x - denoised) / 1.014, atol=1e-6)
    linear = Sampler(steps=10, epsilon_scaling={"k": 0.01, "b": 1.0})
    for step, left in ((0, 10), (9, 1)):
        assert torch.allclose(
            x - scale_epsilon(denoised, x, linear, step), (x - denoised) / (1 + 0.01 * left), atol=1e-6
        )


class TwoClasses:
    """The exact denoiser of a class N(2, s^2), and without the class of N(-1, s^2); it counts what it is asked."""

    classes, s2 = ["a"], 0.25

    def __init__(self):
        self.asked = []

    def __call__(self, x, sigma_b, mpp_b, label_b=None):
        self.asked.append((float(sigma_b[0]), label_b is not None))
        mean, s2 = 2.0 if label_b is not None else -1.0, sigma_b[:, None, None, None] ** 2
        return (self.s2 * x + s2 * mean) / (self.s2 + s2)


def test_guidance_in_an_interval_flows_as_the_closed_form_does():
    """Guided by w, two Gaussians of one spread are a third, about 2 + 3 w; the flow to N(m, s^2) takes x from sigma to sigma'
    to m + (x - m) sqrt((s^2 + sigma'^2) / (s^2 + sigma^2)). So in an interval x flows to that mean, before and after it to 2.
    """
    w, low, high, model = 1.5, 0.19, 1.61, TwoClasses()
    sampler = Sampler(kind="heun", steps=400, sigma_max=20, guided_sigmas=(low, high))
    evaluations = solver_evaluations(**sampler.solver)
    estimate = estimator(guide(model, "a", w), sampler, Normalisation.unit(), 1.0)
    x = torch.tensor([-30.0, 0.0, 25.0])[:, None, None, None]
    made, _ = solve(x, takes(evaluations), estimate, None)
    wanted = x
    for mean, start, end in ((2, 20, high), (2 + 3 * w, high, low), (2, low, 0)):
        wanted = mean + (wanted - mean) * ((0.25 + end**2) / (0.25 + start**2)) ** 0.5
    everywhere = (2 + 3 * w) + (x - 2 - 3 * w) * (0.25 / 400.25) ** 0.5
    assert torch.allclose(made, wanted, atol=0.02) and (everywhere - wanted).abs().min() > 0.5
    of_none = [sigma for sigma, cond in model.asked if not cond]
    assert len([cond for _, cond in model.asked if cond]) == len(evaluations)
    inside = [evaluation.sigma for evaluation in evaluations if low < evaluation.sigma <= high]
    assert of_none == pytest.approx(inside, rel=1e-6) and len(inside) < len(evaluations), (
        "elsewhere one evaluation, not two"
    )


@pytest.mark.parametrize("sigma, guides", [(0.5, False), (0.51, True), (2.0, True), (2.01, False)])
def test_the_upper_end_of_an_interval_belongs_to_it_and_the_lower_does_not(sigma, guides):
    led = guide(model_of(), "a", 1.0)
    assert at_sigma(led, (0.5, 2.0), sigma) is (led if guides else led.conditional)


def test_an_interval_without_guidance_or_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match="there is no `guidance` to apply there"):
        samples(sampler={"guided_sigmas": [0.19, 1.61]})
    with pytest.raises(ValueError, match="the lower noise level comes first"):
        Sampler(guided_sigmas=(1.61, 0.19))


class Patches:
    mpp = np.full(40, np.nan)
    label = np.array(["a", "b"] * 20)
    patch_px = 16

    def __len__(self):
        return 40

    def read(self, indices):
        return np.stack([np.full((16, 16, 3), 50 if self.label[k] == "a" else 200, np.uint8) for k in indices])


def test_a_batch_tells_the_class_of_each_picture_and_drops_some():
    batches = Batches(
        Patches(), Normalisation.unit(), lambda n: n.exp(), 1, True, classes=["a", "b"], label_dropout=0.3
    )
    batch = batches.read(0, range(600))
    kept = batch.label >= 0
    assert torch.equal(batch.label[kept], (batch.image.mean(dim=(1, 2, 3))[kept] > 0).long())
    assert 0.24 < 1 - kept.float().mean() < 0.36
    again = batches.read(0, range(5, 9))
    assert torch.equal(again.label, batch.label[5:9]), "whatever the batch"
    untold = Batches(Patches(), Normalisation.unit(), lambda n: n.exp(), 1, True).read(0, range(9))
    assert (
        untold.label is None
        and torch.equal(untold.image, batch.image[:9])
        and torch.equal(untold.noise, batch.noise[:9])
    )


def samples(**more) -> Samples:
    return Samples.model_validate(
        {"model": "m", "images": 5, "batch": 2, "sampler": {"kind": "ddpm", "steps": 4}} | more
    )


def test_a_drawn_picture_depends_on_seed_class_and_number_alone(tmp_path):
    torch.set_num_threads(1)
    model = model_of()
    drawn, labels = sample_patches([model], samples(), ["a", "b"], 16, float("nan"), tmp_path / "1", "cpu")
    assert drawn.shape == (10, 16, 16, 3) and labels == ["a"] * 5 + ["b"] * 5
    third = sample_batch([model], samples(), "b", range(2, 4), 16, float("nan"), "cpu")
    assert np.array_equal(third, drawn[7:9])
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[5])
    larger = sample_batch([model], samples(), "b", range(2), 24, float("nan"), "cpu")
    assert larger.shape == (2, 24, 24, 3), "another size, another field of view"


def test_a_drawing_that_was_stopped_goes_on_to_the_same_pictures(tmp_path):
    torch.set_num_threads(1)
    model = model_of()
    whole, _ = sample_patches([model], samples(), ["a"], 16, 1.0, tmp_path / "whole", "cpu")
    for _ in range(2):  # of three batches
        with pytest.raises(Stopped):
            sample_patches([model], samples(), ["a"], 16, 1.0, tmp_path / "parts", "cpu", stop=lambda: True)
    pieces, _ = sample_patches([model], samples(), ["a"], 16, 1.0, tmp_path / "parts", "cpu", stop=lambda: True)
    assert np.array_equal(whole, pieces)


def test_a_model_keeps_its_classes_and_its_batch_statistics(tmp_path):
    model = model_of(NETWORKS[1], classes=("x", "y", "z"))
    model.train()
    model(torch.randn(8, 3, 16, 16), torch.ones(8), torch.ones(8))
    weights = model.network.state_dict()
    assert weights["down.0.norm0.num_batches_tracked"] == 1
    save_model(tmp_path, weights, section(NETWORKS[1]), model.normalisation, patch_px=16, classes=["x", "y", "z"])
    again = load_model(tmp_path)
    assert again.classes == ["x", "y", "z"]
    x, one = torch.randn(2, 3, 16, 16), torch.ones(2)
    assert torch.equal(again(x, one, one), model.eval()(x, one, one))
