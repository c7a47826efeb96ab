"""A denoiser that knows its patches by heart tells them by its loss; losses do not depend on how patches are batched."""

import numpy as np
import torch

from histogenesis.evaluation import membership as module
from histogenesis.evaluation.membership import SIGMAS, losses_of
from histogenesis.metrics.memorisation.membership import auc
from histogenesis.models.normalisation import Normalisation


class Patches:
    def __init__(self, images):
        self.patch_px = 8
        self.images, self.mpp, self.label = images, np.full(len(images), 1.0), np.full(len(images), "")

    def read(self, indices):
        return self.images[indices]


class ByHeart:
    """The optimal denoiser of a finite training set, in closed form: the posterior mean over its patches."""

    classes = conditions = ()

    def __init__(self, images):
        self.normalisation = Normalisation.measure(images, 0.5)
        self.known = self.normalisation.encode(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).flatten(1)

    def sample_loss(self, batch, dropout):
        x = (batch.image + batch.sigma[:, None, None, None] * batch.noise).flatten(1)
        weights = (-(torch.cdist(x, self.known) ** 2) / (2 * batch.sigma[:, None] ** 2)).softmax(dim=1)
        return ((weights @ self.known - batch.image.flatten(1)) ** 2).mean(dim=1)


IMAGES = np.random.default_rng(0).integers(0, 255, (60, 8, 8, 3), dtype=np.uint8)


def test_what_was_learned_from_has_the_smaller_loss():
    losses = losses_of(ByHeart(IMAGES[:20]), 8, Patches(IMAGES), np.arange(60), 1, "cpu")
    assert losses.shape == (60, len(SIGMAS))
    assert auc(-losses[:20].mean(axis=1), -losses[20:].mean(axis=1)) > 0.95
    strangers = losses_of(ByHeart(IMAGES[40:]), 8, Patches(IMAGES), np.arange(40), 1, "cpu")
    assert 0.3 < auc(-strangers[:20].mean(axis=1), -strangers[20:].mean(axis=1)) < 0.7


def test_losses_do_not_depend_on_the_batch(monkeypatch):
    model, rows = ByHeart(IMAGES[:20]), np.array([3, 20, 40])
    all_at_once = losses_of(model, 8, Patches(IMAGES), rows, 1, "cpu")
    monkeypatch.setattr(module, "BATCH", 1)
    one_by_one = losses_of(model, 8, Patches(IMAGES), rows, 1, "cpu")
    np.testing.assert_allclose(one_by_one, all_at_once, rtol=1e-3, atol=1e-9)
    other = losses_of(model, 8, Patches(IMAGES), rows, 2, "cpu")
    assert not np.allclose(other[1:], one_by_one[1:])  # another seed, other noise
