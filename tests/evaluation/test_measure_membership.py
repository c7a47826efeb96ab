"""A denoiser that knows its patches by heart tells them by its loss; losses do not depend on how patches are batched."""

import json

import numpy as np
import pytest
import torch

from histogenesis.core.errors import BadInput
from histogenesis.evaluation import membership as module
from histogenesis.evaluation.membership import SIGMAS, losses_of
from histogenesis.metrics.memorisation.membership import auc
from histogenesis.models.model import build_model, save_model
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


def section(**more):
    network = {"kind": "ddpmpp", "channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1}
    edm = {"kind": "edm", "sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2}
    return {"network": network | {"dropout": 0.0}, "objective": edm, "training": {"steps": 1}, "conditions": []} | more


def saved(folder, section):
    """An untrained model as its two files."""
    folder.mkdir()
    normalisation = Normalisation.measure(IMAGES, 0.5)
    weights = build_model(section, 8, normalisation).network.state_dict()
    save_model(folder, weights, section, normalisation, patch_px=8)
    return folder


class Collection(Patches):
    """As patches.dataset.PatchCollection: patches of twelve patients a side."""

    def __init__(self, patches, splits, split):
        super().__init__(IMAGES[:30] if split == "train" else IMAGES[30:])
        self.slide = self.patient = np.array([f"{split} {k % 12}" for k in range(30)])
        self.coords = np.zeros((30, 2))


def test_a_model_that_is_shown_a_coarse_picture_is_asked_for_its_loss(tmp_path, monkeypatch):
    """How coarse it is stands in the model's file."""
    monkeypatch.setattr(module, "PatchCollection", Collection)
    lowres = section(conditions=["lowres"], lowres_factor=2)
    found = module.measure_membership(saved(tmp_path / "m", lowres), "p", "s", "test", 60, 1)
    assert found["n_train"] == found["n_held_out"] == 30 and 0 <= found["auc"] <= 1
    (train, losses), (other, theirs) = module.both_losses(tmp_path / "m", "p", "s", "test", 60, 1)
    assert set(train.patient) == {f"train {k}" for k in range(12)} and set(other.patient) == {
        f"test {k}" for k in range(12)
    }
    assert losses.shape == (30, len(SIGMAS)) and found["by_sigma"][0]["auc"] == auc(-losses[:, 0], -theirs[:, 0])
    fewer = module.measure_membership(tmp_path / "m", "p", "s", "test", 20, 1)
    assert fewer["n_train"] == fewer["n_held_out"] == 20
    silent = saved(tmp_path / "silent", lowres)
    card = json.loads((silent / "model.json").read_text())
    del card["section"]["lowres_factor"]
    (silent / "model.json").write_text(json.dumps(card))
    with pytest.raises(BadInput, match="does not say how coarse"):
        module.measure_membership(silent, "p", "s", "test", 60, 1)


def test_a_model_that_draws_nothing_from_noise_is_refused(tmp_path):
    edsr = section(network={"kind": "edsr", "channels": 8, "blocks": 1}, objective={"kind": "super-resolution"})
    with pytest.raises(BadInput, match="draws no pictures from noise"):
        module.measure_membership(saved(tmp_path / "m", edsr), "p", "s", "test", 60, 1)
