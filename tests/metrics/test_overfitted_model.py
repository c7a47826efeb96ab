"""A real diffusion model that was overfitted on purpose is caught copying; the same model on many patches is cleared."""

import numpy as np
import pytest
import torch

from histogenesis.evaluation.evaluate_copies import audit_pixels
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.model import Denoiser
from histogenesis.models.training import Trainer, ema_weights
from histogenesis.recipe import Evaluation, Model
from histogenesis.sampling.solvers import sample, solver_evaluations
from histogenesis.slides.read import open_slide

SIZE, MPP, DRAWN, STEPS = 16, 2.0, 64, 1000


@pytest.fixture(scope="module")
def tissue(cmu_slide):
    with open_slide(cmu_slide) as slide:
        shape = int(slide.height_px * slide.mpp / MPP) - 1, int(slide.width_px * slide.mpp / MPP) - 1
        return slide.read(0, 0, shape, MPP)


def patches(picture, n, seed):
    """n random places that are mostly tissue."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(100 * n):
        y, x = (rng.integers(0, side - SIZE + 1) for side in picture.shape[:2])
        patch = picture[y : y + SIZE, x : x + SIZE]
        if (patch.mean(axis=-1) < 225).mean() > 0.6:
            out.append(patch)
    assert len(out) >= n
    return np.stack(out[:n])


class Few:
    """A patch set of a few patches in memory."""

    def __init__(self, images):
        self.images, self.mpp = images, np.full(len(images), MPP)

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return self.images[indices]


def drawn_by_a_model_of(images, folder, steps):
    """Train without augmentation, then draw from noise."""
    torch.set_num_threads(1)
    network = {"channels": 24, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0.0}
    training = {"steps": steps, "batch": 12, "lr": 4e-3, "precision": "fp32", "ema_half_life_images": 400}
    section = Model.model_validate({"patches": "p", "network": network, "training": training})
    normalisation = normalisation_of(Few(images), 0.5)
    torch.manual_seed(0)
    denoiser = Denoiser(section, SIZE, normalisation)
    batches = Batches(Few(images), normalisation, denoiser.objective.sample_sigma, 1, augment=False)
    trainer = Trainer(denoiser, section, batches, folder, "d", "cpu")
    trainer.resume()
    trainer.run(None, None)
    noise = torch.from_numpy(np.random.default_rng(3).standard_normal((DRAWN, 3, SIZE, SIZE), dtype=np.float32))
    mpp, one = torch.full((DRAWN,), MPP), torch.ones(DRAWN)
    with ema_weights(trainer), torch.no_grad():
        x = sample(
            lambda x, now: denoiser(x, one * now.sigma, mpp), noise, solver_evaluations("dpmpp-2m", 20, 0.002, 80, 7)
        )
    return normalisation.to_uint8(x).permute(0, 2, 3, 1).numpy()


def audit(train, held_out, generated):
    def image_set(name, images):
        names = np.array([name] * len(images))
        return ImageSet(name, images, np.full(len(images), MPP), names, names)

    sets = Sets(image_set("train", train), image_set("held_out", held_out), image_set("generated", generated))
    return audit_pixels(sets, Evaluation())


@pytest.mark.slow
def test_an_overfitted_model_is_caught_and_an_honest_one_cleared(tissue, tmp_path):
    half = tissue.shape[1] // 2
    held_out = patches(tissue[:, half:], DRAWN, 1)
    dozen = patches(tissue[:, :half], 12, 0)
    found = audit(dozen, held_out, drawn_by_a_model_of(dozen, tmp_path / "dozen", STEPS))
    assert found["verdict"] == "copies"
    assert found["absolute"]["p_value"] < 1e-3
    assert min(pair["correlation"] for pair in found["closest"]) > 0.9

    many = patches(tissue[:, :half], 600, 0)
    found = audit(many, held_out, drawn_by_a_model_of(many, tmp_path / "many", 150))
    assert found["verdict"] == "clear"
