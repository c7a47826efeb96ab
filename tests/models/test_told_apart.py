"""A class-conditional model learns its classes: a classifier trained on real patches tells its samples apart."""

import numpy as np
import pytest
import torch

from histogenesis.evaluation.tstr import predict, train_classifier
from histogenesis.models.batches import Batches
from histogenesis.models.model import Normalisation, build_model
from histogenesis.models.training import Trainer, ema_weights
from histogenesis.recipe import Model, Samples
from histogenesis.sampling.patches import sample_patches

CLASSES = ["dark", "light"]
SECTION = {
    "patches": "p",
    "conditions": ["label"],
    "label_dropout": 0.2,
    "network": {"channels": 16, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0},
    "objective": {"kind": "eps", "schedule": "cosine", "timesteps": 200},
    "training": {"steps": 250, "batch": 16, "lr": 2e-3, "precision": "fp32", "ema_half_life_images": 300},
}


class Patches:
    """Textures of two classes: stripes that are mostly dark or mostly light, at random places."""

    def __init__(self, n, seed):
        rng = np.random.default_rng(seed)
        self.label = np.array([CLASSES[k % 2] for k in range(n)])
        self.mpp, self.patch_px = np.full(n, np.nan), 8
        phase, x = rng.integers(0, 4, n), np.arange(8)
        wave = ((x[None] + phase[:, None]) % 4 < 2)[:, None, :, None] * 60 + np.where(self.label == "dark", 60, 130)[
            :, None, None, None
        ]
        self.images = (wave + rng.normal(0, 8, (n, 8, 8, 3))).clip(0, 255).astype(np.uint8)

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return self.images[np.asarray(indices)]


@pytest.mark.slow
def test_samples_of_each_class_are_told_apart_far_above_chance(tmp_path):
    torch.set_num_threads(1)
    section, patches = Model.model_validate(SECTION), Patches(200, 1)
    torch.manual_seed(0)
    model = build_model(section, 8, Normalisation.unit(), CLASSES)
    options = {"classes": CLASSES, "label_dropout": section.label_dropout}
    batches = Batches(patches, model.normalisation, model.objective.sample_sigma, 1, True, **options)
    trainer = Trainer(model, section, batches, tmp_path / "state", "digest", "cpu")
    for step in range(section.training.steps):
        trainer.train_step([batches.read(step, range(section.training.batch))])
    sampler = {"kind": "ddim", "steps": 20, "threshold": {"kind": "static"}}
    wanted = Samples.model_validate({"model": "m", "images": 24, "batch": 24, "guidance": 1.0, "sampler": sampler})
    with ema_weights(trainer):
        drawn, labels = sample_patches([model], wanted, CLASSES, 8, float("nan"), tmp_path / "drawn", "cpu")
    real = Patches(200, 2)
    truth = np.searchsorted(CLASSES, real.label)
    classifier = train_classifier(real.images, truth, 2, "small", 60, 16, 3e-3, seed=1)
    found = predict(classifier, drawn)
    assert np.mean(found == np.searchsorted(CLASSES, labels)) > 0.9
