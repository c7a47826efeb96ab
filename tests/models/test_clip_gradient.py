"""training.clip_gradient bounds what a step may do to the weights."""

import numpy as np
import pytest
import torch

from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.model import Denoiser
from histogenesis.models.training import Trainer
from histogenesis.recipe import Model


class Patches:
    def __init__(self):
        self.images = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), dtype=np.uint8)
        self.mpp = np.full(8, 1.0)

    def __len__(self):
        return 8

    def read(self, indices):
        return self.images[indices]


def small_trainer(folder, **training) -> Trainer:
    """Ready for two steps of two patches each."""
    network = {"channels": 8, "multipliers": [1], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0.0}
    training = {"steps": 2, "batch": 2, "precision": "fp32"} | training
    section = Model.model_validate({"patches": "p", "network": network, "training": training})
    torch.manual_seed(0)
    normalisation = normalisation_of(Patches(), 0.5)
    denoiser = Denoiser(section, 16, normalisation)
    batches = Batches(Patches(), normalisation, denoiser.objective.sample_sigma, 1, augment=False)
    trainer = Trainer(denoiser, section, batches, folder, "d", "cpu")
    trainer.resume()
    return trainer


def moved(folder, clip) -> float:
    """How far the weights go in two steps."""
    trainer = small_trainer(folder, lr=1e-3, clip_gradient=clip)
    before = {name: w.detach().clone() for name, w in trainer.weights.items()}
    trainer.run(None, None)
    return float(sum(((w.detach() - before[name]) ** 2).sum() for name, w in trainer.weights.items()) ** 0.5)


def test_a_gradient_clipped_to_nearly_nothing_moves_the_weights_by_nearly_nothing(tmp_path):
    """Adam divides by the gradient's size, but not below its epsilon (1e-8): far less than that leaves the weights alone."""
    free, large, small = (moved(tmp_path / str(clip), clip) for clip in (None, 1e6, 1e-12))
    assert free > 0.01
    assert large == pytest.approx(free, rel=1e-6)
    assert small < free / 100
