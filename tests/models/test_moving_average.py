"""The moving average of the weights against its closed form, step by step."""

import numpy as np
import pytest
import torch
from test_clip_gradient import Patches

from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.model import Denoiser
from histogenesis.models.training import Trainer
from histogenesis.recipe import Model

BATCH = 2


@pytest.mark.parametrize(
    "half_life,rampup,keeps",
    [
        (BATCH, 0.0, [0.5, 0.5]),  # a batch is one half-life
        (2 * BATCH, 0.0, [0.5**0.5] * 2),
        (1000 * BATCH, 0.5, [0.5**2, 0.5**1]),  # at first half of what was seen: half a batch, then one
    ],
)
def test_the_average_has_its_half_life_in_images_and_a_shorter_one_at_the_start(tmp_path, half_life, rampup, keeps):
    network = {"channels": 8, "multipliers": [1], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0.0}
    training = {"steps": 2, "batch": BATCH, "lr": 1e-2, "precision": "fp32"}
    training |= {"ema_half_life_images": half_life, "ema_rampup": rampup, "warmup_steps": 0}
    section = Model.model_validate({"patches": "p", "network": network, "training": training})
    torch.manual_seed(0)
    normalisation = normalisation_of(Patches(), 0.5)
    denoiser = Denoiser(section, 16, normalisation)
    batches = Batches(Patches(), normalisation, denoiser.objective.draw_sigma, 1, augment=False)
    trainer = Trainer(denoiser, section, batches, tmp_path, "d", "cpu")
    trainer.resume()
    expected = flat(trainer.average)
    for step, keep in enumerate(keeps):
        trainer.train_step([batches.read(step, share, "cpu") for share in trainer.micro_batches()])
        new = flat(trainer.weights)
        assert np.abs(new - expected).max() > 1e-3
        expected = keep * expected + (1 - keep) * new
        np.testing.assert_allclose(flat(trainer.average), expected, atol=1e-6)


def flat(weights) -> np.ndarray:
    return np.concatenate([w.detach().double().numpy().ravel() for w in weights.values()])
