"""A class-conditional model draws the class that it is told: a classifier that knows real patches alone can tell."""

import numpy as np
import pytest
import torch

from histogenesis.evaluation.tstr import Labelled, tstr
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.model import Denoiser
from histogenesis.models.training import Trainer, ema_weights
from histogenesis.recipe import Model
from histogenesis.sampling.guidance import guide
from histogenesis.sampling.solvers import sample, solver_evaluations

CLASSES = ["coarse", "fine"]


class Stripes:
    """Two classes that differ in their stripes' width alone: neither colour nor brightness gives them away."""

    size_px, patch_px, classes = 16, 16, CLASSES

    def __init__(self, n, seed):
        rng, x = np.random.default_rng(seed), np.arange(16)
        self.label = np.array(CLASSES)[np.arange(n) % 2]
        self.mpp = np.full(n, 4.0)
        waves = [np.sin(2 * np.pi * (x * {"coarse": 1, "fine": 3}[c] / 16 + rng.random())) for c in self.label]
        rows = 128 + 60 * np.stack(waves)[:, None, :, None] + rng.normal(0, 10, (n, 16, 16, 1))
        self.images = np.repeat(rows, 3, axis=3).clip(0, 255).astype(np.uint8)

    def __len__(self):
        return len(self.label)

    def read(self, indices):
        return self.images[indices]

    def labelled(self, group):
        return Labelled(self.images, self.label, np.array([f"{group}{n}" for n in range(len(self))]))


@pytest.mark.parametrize("given", [None, {"file": "not read here", "width": 2}], ids=["learned", "given"])
def test_samples_are_told_apart_by_a_classifier_of_real_patches(tmp_path, given):
    torch.set_num_threads(1)
    patches = Stripes(200, 0)
    network = {"channels": 16, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0}
    training = {"steps": 250, "batch": 16, "lr": 3e-3, "precision": "fp32", "ema_half_life_images": 200}
    section = Model.model_validate(
        {"patches": "p", "conditions": ["label"], "network": network, "training": training | {"augment": False}}
        | ({"label_embeddings": given} if given else {})
    )
    normalisation = normalisation_of(patches, 0.5)
    torch.manual_seed(0)
    denoiser = Denoiser(section, 16, normalisation, CLASSES)
    if given:
        denoiser.network.label_embedding.give(torch.tensor([[1.0, 2.0], [2.0, -1.0]]))
    batches = Batches(
        patches, normalisation, denoiser.objective.sample_sigma, 1, False, section.conditions, classes=CLASSES
    )
    trainer = Trainer(denoiser, section, batches, tmp_path, "d", "cpu")
    trainer.run(lambda: 0.0, lambda step: None)
    made = []
    with ema_weights(trainer), torch.no_grad():
        for n, label in enumerate(CLASSES):
            noise = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(n))
            told = guide(denoiser, label)
            denoise = lambda x, now: told(x, torch.full((40,), now.sigma), torch.full((40,), 4.0))  # noqa: B023, E731
            made.append(
                denoiser.to_uint8(sample(denoise, noise, solver_evaluations("dpmpp-2m", 12)))
                .permute(0, 2, 3, 1)
                .numpy()
            )
    generated = Labelled(np.concatenate(made), np.repeat(CLASSES, 40), np.full(80, "made"))
    settings = {"network": "small", "seeds": 2, "steps": 60, "batch": 16, "lr": 1e-2}
    found = tstr(patches.labelled("train"), generated, Stripes(60, 1).labelled("test"), **settings)
    assert found["arms"]["real"]["value"] > 0.95
    assert found["recognised"]["value"] > 0.9, "0.5 is chance"
