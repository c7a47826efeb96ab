"""The utility experiment: useful patches help, useless ones do not, and leaks are refused."""

import numpy as np
import pytest
import torch

from histogenesis.core.errors import BadInput
from histogenesis.evaluation import tstr as module
from histogenesis.evaluation.shared_arm import train_on_real, trained_on_real
from histogenesis.evaluation.tstr import Labelled, ResNet50, predict, train_classifier, tstr


def stripes(n, seed, group, wrong=False):
    """Two classes, coarse and fine stripes under noise; `wrong` swaps the labels."""
    rng = np.random.default_rng(seed)
    labels = np.array(["coarse", "fine"])[np.arange(n) % 2]
    wave = {"coarse": np.sin(np.arange(16) / 3), "fine": np.sin(np.arange(16) * 1.6)}
    images = np.stack(
        [128 + 50 * np.roll(wave[c], rng.integers(16))[:, None, None] + rng.normal(0, 25, (16, 16, 3)) for c in labels]
    )
    if wrong:
        labels = labels[np.arange(n) ^ 1]
    return Labelled(images.clip(0, 255).astype(np.uint8), labels, np.array([f"{group}{i % 5}" for i in range(n)]))


torch.set_num_threads(1)  # tiny batches: threads only wait for each other
SETTINGS = {"network": "small", "seeds": 2, "steps": 30, "batch": 16, "lr": 1e-2}


def test_arms():
    found = tstr(stripes(60, 0, "train"), stripes(200, 1, "made"), stripes(100, 2, "test"), **SETTINGS)
    assert found["classes"] == ["coarse", "fine"]
    for arm, n in (("real", 60), ("generated", 200), ("real + generated", 260)):
        part = found["arms"][arm]
        assert part["n_train"] == n
        assert part["value"] > 0.8
        assert np.sum(part["confusion"]) == 200  # both seeds
        assert np.trace(part["confusion"]) / 200 == pytest.approx(part["value"])
        assert part["low"] <= part["value"] <= part["high"]
    recognised = found["recognised"]
    assert recognised["value"] > 0.8 and np.sum(recognised["confusion"]) == 400, "200 generated patches, two seeds"
    assert recognised["n_train"] == 60, "learnt from real patches alone"


def test_wrongly_labelled_generated_patches_are_of_no_use():
    found = tstr(stripes(60, 0, "train"), stripes(60, 1, "made", wrong=True), stripes(100, 2, "test"), **SETTINGS)
    assert found["arms"]["generated"]["value"] < 0.2
    assert found["arms"]["real"]["value"] > 0.85
    assert found["recognised"]["value"] < 0.2


def test_same_seed_same_weights():
    part = stripes(20, 0, "a")
    labels = np.arange(20) % 2
    one, two = (train_classifier(part.images, labels, 2, "small", 4, 8, 1e-3, 5).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_resnet50_is_resnet50():
    model = ResNet50(1000)
    assert sum(p.numel() for p in model.parameters()) == 25_557_032  # He et al.; torchvision's count
    names = set(model.state_dict())
    assert {"layer1.0.downsample.0.weight", "layer3.5.bn3.running_var", "layer4.2.conv2.weight", "fc.bias"} <= names
    assert len(names) == 320
    assert model.layer4[0].conv2.stride == (2, 2)
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_resnet50_trains():
    part = stripes(8, 0, "a")
    model = train_classifier(part.images, np.arange(8) % 2, 2, "resnet50", 2, 4, 1e-3, 1)
    assert predict(model, part.images).shape == (8,)


def test_bad_input():
    train, generated, test = stripes(20, 0, "a"), stripes(20, 1, "b"), stripes(20, 2, "c")
    with pytest.raises(BadInput, match="split by patient"):
        tstr(train, generated, stripes(20, 2, "a"), **SETTINGS)
    with pytest.raises(BadInput, match="differ in classes"):
        tstr(train, Labelled(generated.images, np.full(20, "fine"), generated.groups), test, **SETTINGS)
    one = [Labelled(s.images, np.full(20, "fine"), s.groups) for s in (train, generated, test)]
    with pytest.raises(BadInput, match="one class"):
        tstr(*one, **SETTINGS)
    with pytest.raises(BadInput, match="px"):
        tstr(train, generated, Labelled(test.images[:, :8, :8], test.labels, test.groups), **SETTINGS)


def test_the_real_arm_is_the_same_bytes_again(tmp_path):
    options = {"network": "small", "seeds": 1, "steps": 1, "batch": 4, "lr": 1e-3, "first_seed": 1}
    files = [tmp_path / f"{n}.safetensors" for n in range(8)]
    for file in files:
        train_on_real(stripes(8, 0, "train"), options, file)
    assert len({file.read_bytes() for file in files}) == 1


def test_the_real_arm_is_trained_once_and_taken_for_nothing_else(tmp_path, monkeypatch):
    train, generated, test = stripes(60, 0, "train"), stripes(60, 1, "made"), stripes(40, 2, "test")
    options = {k: SETTINGS[k] for k in ("network", "seeds", "steps")} | {"batch": 16, "lr": 1e-3, "first_seed": 1}
    file = tmp_path / "classifiers/p.safetensors"
    train_on_real(train, options, file)
    anew = tstr(train, generated, test, **options)
    shared = trained_on_real(file, train, options)
    calls = []
    own = module.train_classifier
    monkeypatch.setattr(module, "train_classifier", lambda *a, **k: calls.append(a) or own(*a, **k))
    assert tstr(train, generated, test, **options, on_real=shared) == anew, "to the last picture"
    assert len(calls) == 2 * options["seeds"], "the arms with generated patches alone"
    assert trained_on_real(file, train, options | {"steps": options["steps"] + 1}) is None
    assert trained_on_real(file, stripes(60, 3, "train"), options) is None
