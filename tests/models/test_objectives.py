"""EDM scalings: limits, unit variances, the loss weight."""

import math

import numpy as np
import pytest
import torch

from histogenesis.models.batch import Batch
from histogenesis.models.model import Normalisation, build_model
from histogenesis.models.objectives import EDM
from histogenesis.recipe import Model

edm = EDM(0.5, -1.2, 1.2)


def test_limits():
    low = edm.scalings(torch.tensor(1e-6, dtype=torch.float64))
    assert float(low.skip) == pytest.approx(1) and float(low.out) == pytest.approx(1e-6)
    assert float(low.into) == pytest.approx(2)
    high = edm.scalings(torch.tensor(1e6, dtype=torch.float64))
    assert float(high.skip) == pytest.approx(0, abs=1e-9) and float(high.out) == pytest.approx(0.5)
    assert float(high.into) == pytest.approx(1e-6)
    assert float(edm.scalings(torch.tensor(np.e**2)).noise) == pytest.approx(0.5)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 0.5, 3.0, 80.0])
def test_weight_makes_every_noise_level_count_alike(sigma):
    """lambda * c_out^2 = 1: the effective weight on the network's own error (Karras et al. 2022, appendix B.6)."""
    s = torch.tensor(sigma, dtype=torch.float64)
    assert float(edm.weight(s) * edm.scalings(s).out ** 2) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 20.0])
def test_input_and_target_have_unit_variance_on_real_tissue(sigma, cmu_slide):
    import openslide

    with openslide.OpenSlide(cmu_slide) as slide:
        region = np.asarray(slide.read_region((400, 400), 0, (1024, 1024)).convert("RGB"))
    normalisation = Normalisation.measure(region[None], 0.5)
    image = normalisation.encode(torch.from_numpy(region.transpose(2, 0, 1).copy())).double()
    assert float(image.square().mean()) == pytest.approx(0.25, rel=1e-3)
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    s = edm.scalings(torch.tensor(sigma, dtype=torch.float64))
    noisy = image + sigma * noise
    assert float((s.into * noisy).square().mean()) == pytest.approx(1, rel=0.02)
    assert float(((image - s.skip * noisy) / s.out).square().mean()) == pytest.approx(1, rel=0.02)


def test_training_noise_levels_are_log_normal():
    sigma = edm.sample_sigma(torch.randn(20000, generator=torch.Generator().manual_seed(0)))
    assert float(sigma.log().mean()) == pytest.approx(-1.2, abs=0.03)
    assert float(sigma.log().std()) == pytest.approx(1.2, abs=0.03)


def test_a_trained_range_bounds_the_noise_and_nothing_else():
    plain, bounded = EDM(0.5, -1.5, 1.2), EDM(0.5, -1.5, 1.2, sigma_min=0.05, sigma_limit=5.0)
    normal = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    free, drawn = plain.sample_sigma(normal), bounded.sample_sigma(normal)
    inside = (free > 0.05) & (free < 5)
    assert torch.equal(drawn[inside], free[inside]) and bool((~inside).any())
    assert float(drawn.min()) == pytest.approx(0.05) and float(drawn.max()) == 5.0
    gathered = 0.5 * math.erfc((math.log(5) + 1.5) / 1.2 / math.sqrt(2))  # of the normal law, beyond the limit
    assert float((drawn == 5).float().mean()) == pytest.approx(gathered, rel=0.1)


def test_normalisation_round_trip():
    rgb = torch.arange(256, dtype=torch.uint8).repeat(3, 1)[:, None]
    normalisation = Normalisation([200.0, 150.0, 190.0], 45.0, 0.5)
    assert torch.equal(normalisation.to_uint8(normalisation.encode(rgb)), rgb)


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
def test_hubers_loss_is_that_of_the_networks_own_prediction(kind):
    """Son's code: huber_loss(predicted noise, noise). Errors are on both sides of 1, where it bends."""
    network = {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0}
    objective = {"kind": kind, "timesteps": 50, "loss": "huber"}
    section = {"patches": "p", "conditions": [], "network": network, "objective": objective, "training": {"steps": 1}}
    torch.manual_seed(0)
    model = build_model(Model.model_validate(section), 16, Normalisation.unit())
    said = 3 * torch.randn(4, 3, 16, 16)
    model.network.forward = lambda *told: said
    image, noise, sigma = (
        torch.rand(4, 3, 16, 16) * 2 - 1,
        torch.randn(4, 3, 16, 16),
        torch.tensor([0.05, 0.5, 2.0, 9.0]),
    )
    batch = Batch(
        image, noise, sigma, torch.full((4,), float("nan")), torch.zeros(4, dtype=torch.int32), None, None, None
    )
    s = sigma[:, None, None, None]
    wanted = {"eps": noise, "v": (noise - s * image) / (1 + s**2).sqrt(), "x0": image}[kind]
    own = torch.nn.functional.huber_loss(said, wanted, reduction="none").mean(dim=(1, 2, 3))
    assert torch.allclose(model.sample_loss(batch, False), own, rtol=1e-3)
    model.objective.loss = "mse"
    assert torch.allclose(model.sample_loss(batch, False), ((said - wanted) ** 2).mean(dim=(1, 2, 3)), rtol=1e-3)
