"""EDSR: it learns what bicubic cannot know, resumes to the same weights, and sees exactly as far as it says."""

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from histogenesis.core.errors import BadInput
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.model import Upscaler, build_model, load_model, save_model
from histogenesis.models.networks.edsr import EDSR
from histogenesis.models.training import Trainer, ema_weights, validation_loss
from histogenesis.recipe import Learned, Level, Model, UpscaledLevel
from histogenesis.recipe.imported import check_fits


class Checks:
    """Patches with hard edges between two colours at odd places: bicubic blurs them, a network can learn them."""

    patch_px = 16

    def __init__(self, n=60):
        rng = np.random.default_rng(0)
        self.mpp = np.repeat([4.0, 8.0], n // 2)
        y, x = np.indices((16, 16))
        edges = rng.integers(3, 13, (n, 2))
        dark = (y[None] < edges[:, :1, None]) ^ (x[None] < edges[:, 1:, None])
        self.images = np.where(dark[..., None], (90, 40, 120), (230, 190, 220)).astype(np.uint8)

    def __len__(self):
        return len(self.mpp)

    def read(self, indices):
        return self.images[indices]


def section(**training):
    values = {"steps": 12, "batch": 8, "lr": 3e-3, "precision": "fp32", "checkpoint_every": 4, "log_every": 4}
    values |= {"ema_half_life_images": 50, **training}
    network, objective = {"kind": "edsr", "channels": 16, "blocks": 2}, {"kind": "super-resolution"}
    options = {"patches": "p", "network": network, "objective": objective, "conditions": [], "training": values}
    return Model.model_validate(options)


def trainer(folder, **training):
    torch.set_num_threads(1)
    patches, options = Checks(), section(**training)
    normalisation = normalisation_of(patches, 0.5)
    torch.manual_seed(0)
    model = build_model(options, 16, normalisation)
    batches = Batches(patches, normalisation, model.objective.sample_sigma, options.training.seed, True)
    result = Trainer(model, options, batches, folder, "digest", "cpu")
    result.resume()
    return result


def weights(t):
    return torch.cat([w.detach().flatten() for w in (*t.weights.values(), *t.ema.values())])


def test_after_a_few_steps_it_is_better_than_bicubic(tmp_path):
    t = trainer(tmp_path, steps=250)
    held_out = Batches(Checks(20), t.batches.normalisation, t.denoiser.objective.sample_sigma, 9, False)
    t.run(lambda: validation_loss(t, held_out, 20), None)
    truth = held_out.read(0, range(20)).image
    small = avg_pool2d(truth, 2)
    with ema_weights(t), torch.no_grad():
        learned = float((t.denoiser(small) - truth).abs().mean())
    bicubic = float((interpolate(small, scale_factor=2, mode="bicubic", antialias=True) - truth).abs().mean())
    assert learned < 0.8 * bicubic
    log = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert log[-1]["validation_loss"] == pytest.approx(learned, rel=1e-4), "the loss is the mean absolute error"


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    whole = trainer(tmp_path / "whole")
    whole.run(None, None)
    trainer(tmp_path / "pieces", steps=8).run(None, None)
    second = trainer(tmp_path / "pieces")
    assert second.step == 8
    second.run(None, None)
    assert torch.equal(weights(whole), weights(second))


def test_it_sees_as_far_as_it_says_and_no_further():
    torch.manual_seed(0)
    network = EDSR(8, 2)
    x = torch.rand(1, 3, 41, 41, requires_grad=True)
    network(x)[0, :, 40:42, 40:42].abs().sum().backward()
    seen = x.grad.abs().sum(dim=(0, 1)) > 0
    rows = torch.nonzero(seen.any(dim=1)).flatten()
    assert (int(rows.min()), int(rows.max())) == (20 - network.reach_px, 20 + network.reach_px)


def test_the_papers_baseline_has_its_known_size():
    """1.37 million weights for x2, as its public implementations count."""
    assert sum(w.numel() for w in EDSR(64, 16).parameters()) == pytest.approx(1.37e6, rel=0.01)


def test_a_model_survives_its_files_and_is_checked_where_it_is_taken(tmp_path):
    t = trainer(tmp_path / "state")
    t.run(None, None)
    save_model(tmp_path / "m", t.ema, section(), t.batches.normalisation, patch_px=16, mpps=[8.0, 4.0])
    model, y = load_model(tmp_path / "m"), torch.randn(1, 3, 9, 11)
    assert isinstance(model, Upscaler)
    with ema_weights(t), torch.no_grad():
        assert torch.equal(model(y), t.denoiser(y))
    facts = json.loads((tmp_path / "m/model.json").read_text())
    check_fits(tmp_path / "m", facts, UpscaledLevel(kind="upscale", mpp=1, method=Learned(kind="edsr", model="m")))
    with pytest.raises(BadInput, match="its objective is 'super-resolution', but the level wants 'edm'"):
        check_fits(tmp_path / "m", facts, Level(mpp=8, model="m", tile_px=16))


def test_a_taken_denoiser_must_have_learned_the_level(tmp_path):
    plain = Model.model_validate({"patches": "p", "network": {"multipliers": [1, 2]}, "training": {"steps": 1}})
    facts = {"section": plain.model_dump(mode="json"), "mpps": [8.0, 4.0]}
    check_fits(tmp_path, facts, Level(mpp=8, model="m", tile_px=16))
    with pytest.raises(BadInput, match="never sees 2"):
        check_fits(tmp_path, facts, Level(mpp=2, model="m", tile_px=16))
    with pytest.raises(BadInput, match="multiples of 2 px: tile_px 15"):
        check_fits(tmp_path, facts, Level(mpp=8, model="m", tile_px=15))
    facts["section"]["objective"]["sigma_limit"] = 5.0
    facts["section"]["training"]["crop_px"] = 32
    sampler = {"kind": "heun", "sigma_max": 5.0}
    check_fits(tmp_path, facts, Level(mpp=8, model="m", tile_px=32, sampler=sampler))
    with pytest.raises(BadInput, match=r"learns noise up to sigma 5 .* would start at 80"):
        check_fits(tmp_path, facts, Level(mpp=8, model="m", tile_px=32))
    with pytest.raises(BadInput, match="learns crops of 32 px"):
        check_fits(tmp_path, facts, Level(mpp=8, model="m", tile_px=16, sampler=sampler))
