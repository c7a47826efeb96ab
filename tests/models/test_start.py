"""Fine-tuning: what a training that starts from a model keeps of it, what it refuses, and what it costs to begin anew."""

import json
import subprocess

import numpy as np
import pytest
import torch
from test_training import Stripes, section

from histogenesis.core.errors import BadInput
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.model import Denoiser, Normalisation, build_model, load_model, save_model
from histogenesis.models.shipped import folder_of
from histogenesis.models.start import Start
from histogenesis.models.training import Trainer, ema_weights, validation_loss

JIT = {"kind": "jit", "token_px": 4, "channels": 24, "blocks": 2, "heads": 2, "bottleneck": 12}


class Darker(Stripes):
    """The same stripes under a darker lamp: other slides, to which a model is tuned."""

    def __init__(self, n=40):
        super().__init__(n)
        self.images = (self.images * 0.8).astype(np.uint8)


def trainer(folder, options, patches, start=None):
    torch.set_num_threads(1)
    normalisation = start.normalisation if start else normalisation_of(patches, 0.5)
    torch.manual_seed(0)
    denoiser = Denoiser(options, 16, normalisation)
    if start:
        start.fill(denoiser, options.model_dump(mode="json"), [], 16)
    batches = Batches(patches, normalisation, denoiser.objective.sample_sigma, 1, True)
    t = Trainer(denoiser, options, batches, folder, "d", "cpu")
    t.resume()
    return t


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of the stripes, as another run leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    t = trainer(folder / "state", section(steps=150), Stripes())
    t.run(None, None)
    save_model(folder / "m", t.ema, section(steps=150), t.batches.normalisation, patch_px=16, classes=[])
    return folder / "m"


def loss(t):
    held_out = Batches(Darker(), t.batches.normalisation, t.denoiser.objective.sample_sigma, 9, False)
    return validation_loss(t, held_out, 32)


def test_it_begins_as_the_model_that_it_starts_from(trained, tmp_path):
    t = trainer(tmp_path, section(), Darker(), Start(str(trained)))
    model = load_model(trained)
    x, sigma, mpp = torch.randn(2, 3, 16, 16), torch.tensor([0.5, 2.0]), torch.tensor([4.0, 8.0])
    t.denoiser.eval()
    with torch.no_grad():
        assert torch.equal(model(x, sigma, mpp), t.denoiser(x, sigma, mpp))
    with ema_weights(t), torch.no_grad():
        assert torch.equal(model(x, sigma, mpp), t.denoiser(x, sigma, mpp)), "the average begins there too"
    own = normalisation_of(Darker(), 0.5)
    assert t.batches.normalisation.mean == model.normalisation.mean != own.mean, "its units, not those of the patches"


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "ddpmpp", "channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [8], "heads": 1},
        {
            "kind": "efficient",
            "channels": 8,
            "multipliers": [1, 2],
            "blocks": [1, 1],
            "attention": [False, True],
            "heads": 1,
        },
        JIT,
    ],
)
def test_what_is_shown_a_picture_more_begins_as_if_it_were_not(network, tmp_path):
    """The same answer to the last bit, whatever the picture is and however noisy; and it learns to look."""
    values = section().model_dump(mode="json")
    values["network"] = network
    own = values | {"conditions": ["mpp", "lowres"], "lowres_factor": 2}
    before, after = (type(section()).model_validate(v) for v in (values, own))
    torch.manual_seed(1)
    old = build_model(before, 16, Normalisation.unit())
    for weight in old.parameters():
        weight.data += 0.05 * torch.randn_like(weight)  # a network's last layer may begin at zero
    save_model(tmp_path / "m", old.network.state_dict(), before, Normalisation.unit(), patch_px=16, classes=[])
    new = build_model(after, 16, Normalisation.unit())
    Start(str(tmp_path / "m")).fill(new, after.model_dump(mode="json"), [], 16)
    x, sigma, mpp = torch.randn(2, 3, 16, 16), torch.tensor([0.5, 2.0]), torch.tensor([4.0, 8.0])
    cond_image = torch.randn(2, 3, 16, 16, requires_grad=True)
    drawn = new.eval()(x, sigma, mpp, cond_image_bchw=cond_image, lowres_noise_b=torch.tensor([0.1, 0.9]))
    assert torch.allclose(old.eval()(x, sigma, mpp), drawn, atol=1e-6) and drawn.std() > 0.1
    drawn.square().sum().backward()
    assert new.network.state_dict(keep_vars=True)["first.weight"].grad[:, 3:].abs().sum() > 0, (
        "zeros that stay zeros learn nothing"
    )


def test_a_few_steps_from_a_model_are_worth_more_than_as_many_from_nothing(trained, tmp_path):
    tuned = trainer(tmp_path / "a", section(steps=12), Darker(), Start(str(trained)))
    fresh = trainer(tmp_path / "b", section(steps=12), Darker())
    before = loss(tuned)
    tuned.run(None, None)
    fresh.run(None, None)
    assert loss(tuned) < before and loss(tuned) < 0.7 * loss(fresh)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"channels": 16}}, "network.channels is 8 there and 16 here"),
        ({"network": {"multipliers": [1, 1]}}, r"network.multipliers is \[1.0, 2.0\] there and \[1, 1\] here"),
        ({"conditions": []}, r"conditions is \[\"mpp\"\] there and \[\] here"),
        ({"objective": {"kind": "v"}}, 'objective.kind is "edm" there and "v" here'),
        ({"objective": {"sigma_data": 0.4}}, "objective.sigma_data is 0.5 there and 0.4 here"),
        ({"network": JIT}, r'network.kind is "ddpmpp" there and "jit" here'),
        ({"network": {"attention_px": [4]}}, r"network.attention_levels is \[1\] there and \[\] here"),
    ],
)
def test_a_model_that_differs_is_refused_in_words(trained, change, message):
    values = section().model_dump(mode="json")
    for key, value in change.items():
        values[key] = values[key] | value if isinstance(value, dict) and "kind" not in value else value
    options = type(section()).model_validate(values)
    model = build_model(options, 16, Normalisation.unit())
    with pytest.raises(BadInput, match=f"training.start: .* is another model: .*{message}"):
        Start(str(trained)).fill(model, values, [], 16)


def test_what_may_differ_is_taken(trained):
    values = section(lr=1e-5).model_dump(mode="json")
    values["network"]["dropout"] = 0.0
    values["objective"] |= {"p_mean": -1.5, "sigma_limit": 5.0}
    options = type(section()).model_validate(values)
    Start(str(trained)).fill(build_model(options, 16, Normalisation.unit()), values, [], 16)


def test_attention_that_lies_elsewhere_is_refused(trained):
    """At another patch size, attention at 8 px lies in another block: the options are alike, and the networks are not."""
    options = section()
    with pytest.raises(BadInput, match=r"network.attention_levels is \[1\] there and \[0\] here"):
        Start(str(trained)).fill(build_model(options, 8, Normalisation.unit()), options.model_dump(mode="json"), [], 8)


def test_a_training_goes_on_at_larger_patches(trained):
    """Attention at 16 of 32 px lies where it lay at 8 of 16: the network is the same, and so is what it draws."""
    values = section().model_dump(mode="json")
    values["network"]["attention_px"] = [16]
    model = build_model(type(section()).model_validate(values), 32, Normalisation.unit())
    Start(str(trained)).fill(model, values, [], 32)
    x, sigma, mpp = torch.randn(1, 3, 16, 16), torch.tensor([0.5]), torch.tensor([4.0])
    before = load_model(trained).network.eval()
    assert torch.equal(before(x, sigma, mpp), model.network.eval()(x, sigma, mpp))


def test_a_start_is_known_by_its_content(trained, tmp_path):
    (tmp_path / "copy").mkdir()
    for file in trained.iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    assert Start(str(tmp_path / "copy")).digest == Start(str(trained)).digest, "wherever it lies"
    description = json.loads((trained / "model.json").read_text())
    (tmp_path / "copy/model.json").write_text(json.dumps(description | {"images": 5}))
    assert Start(str(tmp_path / "copy")).digest != Start(str(trained)).digest


def test_a_start_that_is_not_there_names_those_that_ship(tmp_path, monkeypatch):
    place = tmp_path / "pretrained"
    (place / "gut").mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        (place / "gut" / name).touch()
    monkeypatch.setattr("histogenesis.models.shipped.PLACES", [place])
    assert folder_of("gut") == place / "gut"
    with pytest.raises(BadInput, match=r"training.start: gutt: no folder .* \(those are: gut\); did you mean gut"):
        Start("gutt")


def test_a_shipped_model_that_is_damaged_is_named(tmp_path, monkeypatch):
    place = tmp_path / "pretrained"
    (place / "gut").mkdir(parents=True)
    for name in ("model.json", "model.safetensors"):
        (place / "gut" / name).write_text(name)
    monkeypatch.setattr("histogenesis.models.shipped.PLACES", [place])
    sums = subprocess.run(
        ["sha256sum", "model.json", "model.safetensors"], cwd=place / "gut", capture_output=True, check=True
    )
    (place / "gut/SHA256SUMS").write_bytes(sums.stdout)
    assert folder_of("gut") == place / "gut"
    (place / "gut/model.safetensors").write_text("model.safetensorz")
    with pytest.raises(BadInput, match=r"model\.safetensors: damaged"):
        folder_of("gut")
