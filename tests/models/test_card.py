"""Models of earlier versions, whose model.json has other names for some keys, are loaded, started from and drawn with alike."""

import json
import shutil

import pytest
import torch

from histogenesis.models.card import STORED, read_card
from histogenesis.models.model import build_model, load_model, save_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.start import Start
from histogenesis.recipe import Level, Model
from histogenesis.recipe.imported import check_fits
from histogenesis.steps.take_model import take_model

UNIT = Normalisation.unit()
VQ = Model.model_validate({
    "patches": "p", "conditions": [], "objective": {"kind": "autoencoder"}, "training": {"steps": 1},
    "network": {"kind": "vq-f4", "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "codebook_size": 24},
})  # fmt: skip
LATENT = Model.model_validate({
    "patches": "p", "conditions": [], "autoencoder": "vq", "training": {"steps": 1},
    "objective": {"kind": "eps", "timesteps": 20, "noise_cond": "log-snr"},
    "network": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": []},
})  # fmt: skip


def with_earlier_names(value, section=""):
    if not isinstance(value, dict):
        return value
    names = {now: before for before, now in STORED.get(section, {}).items()}
    return {names.get(key, key): with_earlier_names(part, key) for key, part in value.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A latent model, which holds its autoencoder, as it is saved now and as it was."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    vq = build_model(VQ, 16, UNIT)
    save_model(folder / "vq", vq.network.state_dict(), VQ, UNIT, patch_px=16, latent_spread=0.5)
    card = {"mpps": [4.0], "patch_px": 16, "classes": [], "autoencoder": read_card(folder / "vq")}
    model = build_model(LATENT, 16, UNIT, (), (vq, 0.5))
    save_model(folder / "now", model.network.state_dict() | model.frozen_weights(), LATENT, UNIT, **card)
    shutil.copytree(folder / "now", folder / "before")
    text = json.dumps(with_earlier_names(json.loads((folder / "now/model.json").read_text())))
    assert text.count('"told"') == 2 and text.count('"codes"') == 2
    (folder / "before/model.json").write_text(text)
    return folder


def test_a_model_of_an_earlier_version_estimates_the_same(folders):
    assert read_card(folders / "before") == read_card(folders / "now")
    before, now = load_model(folders / "before"), load_model(folders / "now")
    assert before.objective.noise_cond == "log-snr"
    x, sigma, mpp = torch.randn(2, 3, 4, 4), torch.tensor([0.5, 2.0]), torch.tensor([4.0, 4.0])
    with torch.inference_mode():
        assert torch.equal(before(x, sigma, mpp), now(x, sigma, mpp))


def test_it_is_taken_as_it_is_and_another_training_may_start_from_it(folders, tmp_path):
    level = {"mpp": 4, "size_px": [16, 16], "model": "m", "tile_px": 16, "sampler": {"kind": "ddim", "steps": 4}}
    check_fits(folders / "before", read_card(folders / "before"), Level.model_validate(level))
    take_model(model=str(folders / "before"), out=tmp_path / "m", levels=[(Level.model_validate(level), None)])
    assert (tmp_path / "m/model.json").read_bytes() == (folders / "before/model.json").read_bytes()
    model = load_model(folders / "now")
    Start(str(folders / "before")).fill(model, LATENT.model_dump(mode="json"), [], 16)
