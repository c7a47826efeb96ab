"""Training: the same weights whatever killed, resumed or split it; errors that name the remedy."""

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from histogenesis.core.errors import BadInput
from histogenesis.models.batches import Batches, normalisation_of, turned
from histogenesis.models.model import Denoiser, load_model, save_model
from histogenesis.models.networks.ddpmpp import keyed_dropout
from histogenesis.models.training import Diverged, Trainer, ema_weights, validation_loss
from histogenesis.recipe import Model


class Stripes:
    """Patches that can be learned: stripes whose width and colour go with their mpp."""

    size_px = 16

    def __init__(self, n=40):
        self.mpp = np.repeat([4.0, 8.0], n // 2)
        rng = np.random.default_rng(0)
        x = np.arange(16)
        waves = [np.sin(2 * np.pi * (x * (2 if m == 4 else 1) / 16 + rng.random())) for m in self.mpp]
        colours = np.where(self.mpp[:, None] == 4, (60, 20, 40), (20, 60, 10))
        self.images = (150 + np.stack(waves)[:, None, :, None] * colours[:, None, None, :]).round().astype(np.uint8)
        self.images = np.repeat(self.images, 16, axis=1)

    def __len__(self):
        return len(self.mpp)

    def read(self, indices):
        return self.images[indices]


def section(**training):
    network = {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [8], "heads": 1, "dropout": 0.1}
    values = {"steps": 12, "batch": 8, "lr": 3e-3, "precision": "fp32", "checkpoint_every": 4, "log_every": 4}
    values |= {"ema_half_life_images": 50, **training}
    return Model.model_validate({"patches": "p", "network": network, "training": values})


def trainer(folder, digest="d", **training):
    torch.set_num_threads(1)
    patches, options = Stripes(), section(**training)
    normalisation = normalisation_of(patches, 0.5)
    torch.manual_seed(0)
    denoiser = Denoiser(options, 16, normalisation)
    batches = Batches(patches, normalisation, denoiser.objective.sample_sigma, options.training.seed, True)
    result = Trainer(denoiser, options, batches, folder, digest, "cpu")
    result.resume()
    return result


def weights(t):
    return torch.cat([w.detach().flatten() for w in (*t.weights.values(), *t.ema.values())])


def test_the_loss_falls_and_the_average_follows(tmp_path):
    t = trainer(tmp_path, steps=150)
    held_out = Batches(Stripes(), t.batches.normalisation, t.denoiser.objective.sample_sigma, 9, False)
    before = validation_loss(t, held_out, 16)
    t.run(lambda: validation_loss(t, held_out, 16), None)
    log = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in log if "loss" in line]
    assert 0.8 < before < 1.3, "F = 0 has loss 1"
    assert losses[-1] < 0.6 * losses[0]
    assert validation_loss(t, held_out, 16) < 0.7 * before
    with ema_weights(t):
        assert not torch.equal(weights(t)[:100], t.ema["first.weight"].flatten()[:100])


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    whole = trainer(tmp_path / "whole")
    whole.run(None, None)
    first = trainer(tmp_path / "pieces", steps=8)  # a shorter training is the beginning of a longer one
    first.run(None, None)
    second = trainer(tmp_path / "pieces")
    assert second.step == 8
    second.run(None, None)
    assert torch.equal(weights(whole), weights(second))


def test_a_kill_at_any_moment_loses_only_the_steps_since_the_checkpoint(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from pathlib import Path
from test_training import trainer
t = trainer(Path({str(tmp_path / "killed")!r}), steps=60)
t.run(None, None)
"""
    whole = trainer(tmp_path / "whole", steps=60)
    whole.run(None, None)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = trainer(tmp_path / "killed", steps=60)
    assert 4 <= resumed.step < 60 and resumed.step % 4 == 0, "it really was killed in between"
    resumed.run(None, None)
    assert torch.equal(weights(whole), weights(resumed))
    steps = [json.loads(line)["step"] for line in (tmp_path / "killed" / "train.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "no line of the log stands twice"


def test_accumulated_micro_batches_are_the_same_training_to_rounding(tmp_path):
    whole, pieces = trainer(tmp_path / "a"), trainer(tmp_path / "b", micro_batch=2)
    whole.run(None, None)
    pieces.run(None, None)
    assert torch.allclose(weights(whole), weights(pieces), atol=2e-4)
    logs = [[json.loads(line)["loss"] for line in (tmp_path / n / "train.jsonl").open()] for n in "ab"]
    assert np.allclose(*logs, rtol=1e-4)


def test_two_processes_are_the_same_training_to_rounding(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(f"""
import sys; sys.path.insert(0, {str(os.path.dirname(__file__))!r})
from pathlib import Path
from histogenesis.models.training import join_processes
from test_training import trainer
if __name__ == "__main__":
    join_processes()
    trainer(Path({str(tmp_path / "two")!r})).run(None, None)
""")
    command = [sys.executable, "-m", "histogenesis.core.launch", "2", str(script)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120)
    one = trainer(tmp_path / "one")
    one.run(None, None)
    two = trainer(tmp_path / "two")
    assert two.step == 12
    assert torch.allclose(weights(one), weights(two), atol=2e-4)
    logs = [[json.loads(line)["loss"] for line in (tmp_path / n / "train.jsonl").open()] for n in ("one", "two")]
    assert np.allclose(*logs, rtol=1e-4)


def test_a_loss_that_is_not_a_number_ends_the_training_and_keeps_the_last_good_state(tmp_path):
    t = trainer(tmp_path, steps=8)
    t.run(None, None)
    good = weights(t).clone()
    later = trainer(tmp_path, steps=20)
    with torch.no_grad():
        later.weights["first.weight"].fill_(math.nan)
    with pytest.raises(Diverged, match=r"step 8: the loss is nan.*lower training.lr"):
        later.run(None, None)
    assert torch.equal(good, weights(trainer(tmp_path, steps=20)))


def test_a_gradient_that_is_not_a_number_reaches_no_weights(tmp_path):
    t = trainer(tmp_path, steps=8)
    before = weights(t).clone()
    t.weights["last.bias"].register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(Diverged, match=r"step 0: the gradient's norm is (nan|inf).*lower training.lr"):
        t.run(None, None)
    assert torch.equal(before, weights(t))


def test_the_learning_rate_rises_and_then_falls_whatever_the_length(tmp_path):
    t = trainer(tmp_path, steps=8, warmup_steps=4, decay_after_steps=100, lr=1e-3)
    rates = {}
    for t.step in (0, 3, 100, 400):
        rates[t.step] = t.learning_rate()
    assert rates == pytest.approx({0: 2.5e-4, 3: 1e-3, 100: 1e-3, 400: 5e-4})


def test_a_diverging_loss_ends_the_training(tmp_path):
    t = trainer(tmp_path, steps=30)
    t.run(None, None)
    later = trainer(tmp_path, steps=60)
    with torch.no_grad():
        later.weights["last.weight"].normal_(0, 100)
    with pytest.raises(Diverged, match="times its best"):
        later.run(None, None)
    assert trainer(tmp_path, steps=60).step == 30, "the last good state"


def flip(path, place):
    octets = bytearray(path.read_bytes())
    octets[int(len(octets) * place)] ^= 4
    path.write_bytes(octets)


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "empty": lambda path: path.write_bytes(b""),
    "a flip in a weight": lambda path: flip(path, 0.7),
    "a flip in the header": lambda path: flip(path, 0.001),
    "another step": lambda path: path.write_bytes(path.read_bytes().replace(b'"step":"12"', b'"step":"10"')),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_then_to_the_beginning(how, tmp_path, capsys):
    whole = trainer(tmp_path / "whole")
    whole.run(None, None)
    trainer(tmp_path / "a", steps=12).run(None, None)
    last = tmp_path / "a" / "checkpoint.safetensors"
    assert b'"step":"12"' in last.read_bytes()
    (tmp_path / "a" / "train.jsonl").unlink()  # lost as well
    DAMAGE[how](last)
    damaged = {last.read_bytes()}
    later = trainer(tmp_path / "a")
    said = capsys.readouterr().out
    assert later.step == 8 and "damaged checkpoint" in said and "goes on from there" in said
    later.run(None, None)
    assert torch.equal(weights(whole), weights(later))
    assert not damaged.intersection(path.read_bytes() for path in (tmp_path / "a").glob("checkpoint*"))
    steps = [[json.loads(line)["step"] for line in (tmp_path / n / "train.jsonl").open()] for n in ("whole", "a")]
    assert steps[0] == steps[1]
    for path in (tmp_path / "a").glob("checkpoint*"):
        flip(path, 0.5)
    anew = trainer(tmp_path / "a")
    assert anew.step == 0 and "no checkpoint is whole; the training begins anew" in capsys.readouterr().out
    anew.run(None, None)
    assert torch.equal(weights(whole), weights(anew))


def test_the_checkpoint_of_another_model_is_passed_over_and_that_is_said(tmp_path, capsys):
    trainer(tmp_path / "a").run(None, None)
    assert trainer(tmp_path / "a", digest="other").step == 0
    assert "it is of another model or other patches" in capsys.readouterr().out


def test_a_damaged_model_is_named(tmp_path):
    t = trainer(tmp_path / "state", steps=4)
    t.run(None, None)
    save_model(tmp_path / "m", t.ema, section(), t.batches.normalisation, patch_px=16)
    whole = (tmp_path / "m/model.safetensors").read_bytes()
    for damage in (lambda path: flip(path, 0.9), DAMAGE["cut off"], DAMAGE["empty"]):
        damage(tmp_path / "m/model.safetensors")
        with pytest.raises(BadInput, match=r"model\.safetensors: damaged: other weights than model\.json says"):
            load_model(tmp_path / "m")
        (tmp_path / "m/model.safetensors").write_bytes(whole)
    DAMAGE["empty"](tmp_path / "m/model.json")
    with pytest.raises(BadInput, match=r"model\.json: damaged"):
        load_model(tmp_path / "m")


def test_a_model_survives_its_files(tmp_path):
    t = trainer(tmp_path / "state")
    t.run(None, None)
    save_model(tmp_path / "m", t.ema, section(), t.batches.normalisation, patch_px=16)
    model = load_model(tmp_path / "m")
    x, sigma, mpp = torch.randn(2, 3, 16, 16), torch.tensor([0.5, 2.0]), torch.tensor([4.0, 8.0])
    with ema_weights(t), torch.no_grad():
        assert torch.equal(model(x, sigma, mpp), t.denoiser(x, sigma, mpp))
    assert not torch.allclose(model(x, sigma, mpp), model(x, sigma, mpp.flip(0))), "the resolution is a condition"
    description = json.loads((tmp_path / "m/model.json").read_text())
    description["section"]["network"]["channels"] = 16
    (tmp_path / "m/model.json").write_text(json.dumps(description))
    with pytest.raises(BadInput, match="another network"):
        load_model(tmp_path / "m")
    with pytest.raises(BadInput, match="no trained model"):
        load_model(tmp_path / "nowhere")


def test_dropout_is_keyed_by_the_sample_and_drops_its_share():
    x = torch.ones(6, 8, 16, 16)
    keys = torch.arange(6, dtype=torch.int32) * 77
    dropped = keyed_dropout(x, 0.1, keys, 3)
    assert torch.equal(dropped[2:4], keyed_dropout(x[2:4], 0.1, keys[2:4], 3))
    assert abs(float((dropped == 0).float().mean()) - 0.1) < 0.01
    assert abs(float(dropped.mean()) - 1) < 0.01
    assert not torch.equal(dropped, keyed_dropout(x, 0.1, keys, 4))
    assert not torch.equal(dropped[0], dropped[1])


def test_the_eight_turns_are_eight():
    picture = torch.arange(27).reshape(1, 3, 3, 3)
    found = turned(picture.expand(8, -1, -1, -1), torch.arange(8))
    wanted = [np.rot90(view, k) for view in (picture[0].numpy(), picture[0].numpy()[:, ::-1]) for k in range(4)]
    assert {one.numpy().tobytes() for one in found} == {np.ascontiguousarray(one).tobytes() for one in wanted}
