"""The VQ autoencoder, its reconstruction, and a denoiser that works on its latents."""

import numpy as np
import pytest
import torch

from histogenesis.evaluation.reconstruction import measure, reconstruct
from histogenesis.models.batches import Batches
from histogenesis.models.model import Normalisation, build_model, load_model, save_model
from histogenesis.models.networks.vq import VQF4, latent_std
from histogenesis.models.training import Trainer
from histogenesis.recipe import Model, RecipeError, Samples, parse_recipe
from histogenesis.sampling.patches import sample_batch

VQ = {"kind": "vq-f4", "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "codebook_size": 32, "code_channels": 3}
TRAINING = {"steps": 1, "batch": 8, "lr": 3e-3, "precision": "fp32", "ema_half_life_images": 100}
AUTOENCODER = {
    "patches": "p", "conditions": [], "network": VQ, "objective": {"kind": "autoencoder"}, "training": TRAINING
}  # fmt: skip
LATENT = {
    "patches": "p",
    "conditions": [],
    "autoencoder": "vq",
    "network": {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1},
    "objective": {"kind": "eps", "timesteps": 20},
    "training": TRAINING,
}
UNIT = Normalisation.unit()


class Patches:
    """Two halves of different colours, the border anywhere."""

    mpp, patch_px = np.full(64, np.nan), 16

    def __len__(self):
        return 64

    def read(self, indices):
        x = np.arange(16)[None, :, None]
        return np.stack(
            [np.where(x < 4 + k % 9, [[[220, 150, 200]]], [[[90, 60, 140]]]).repeat(16, 0) for k in indices]
        ).astype(np.uint8)


def test_the_quantiser_takes_the_nearest_code_and_its_gradient_goes_straight_through():
    torch.manual_seed(0)
    network = VQF4(8, [1, 1, 2], 1, 32, 3, attention=True)
    torch.nn.init.normal_(network.codebook.weight)
    z = torch.randn(2, 3, 4, 4)
    code, index = network.quantise(z)
    far = ((z.permute(0, 2, 3, 1)[..., None, :] - network.codebook.weight) ** 2).sum(-1)
    assert torch.equal(index, far.argmin(-1))
    assert torch.equal(code, network.codebook.weight[index].permute(0, 3, 1, 2))
    x = torch.randn(2, 3, 16, 16)
    assert network.encode(x).shape == (2, 3, 4, 4) and network.decode(network.encode(x)).shape == x.shape
    made, codebook = network.reconstruct(x, 0.25)
    z, code = network.encode(x), network.quantise(network.encode(x))[0]
    assert torch.allclose(codebook, 1.25 * (code - z).square().mean(dim=(1, 2, 3)))
    assert torch.allclose(made, network.decode(z), atol=1e-5), "straight through changes gradients only"
    made.sum().backward()
    assert network.model.encoder.conv_in.weight.grad.abs().sum() > 0 and network.codebook.weight.grad is None
    network.reconstruct(x, 0.25)[1].sum().backward()
    assert network.codebook.weight.grad.abs().sum() > 0
    assert network.encode(torch.randn(1, 3, 20, 28)).shape == (1, 3, 5, 7), "any multiple of 4"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An autoencoder that has learnt a little, saved and read back."""
    torch.set_num_threads(1)
    folder, section, patches = tmp_path_factory.mktemp("vq"), Model.model_validate(AUTOENCODER), Patches()
    torch.manual_seed(0)
    model = build_model(section, 16, UNIT)
    batches = Batches(patches, UNIT, model.objective.sample_sigma, 1, False)
    trainer = Trainer(model, section, batches, folder / "state", "digest", "cpu")
    losses = [loss for step in range(150) for loss in trainer.train_step([batches.read(step, range(8))])]
    assert np.mean(losses[-10:]) < 0.3 * losses[0]
    spread = latent_std(model.network.eval(), batches.encoded(patches.read(range(16))))
    save_model(folder, trainer.ema, section, UNIT, patch_px=16, latent_spread=spread)
    return load_model(folder), spread


def test_reconstruction_is_measured(trained):
    images = Patches().read(range(40, 49))
    made, codes = reconstruct(trained[0], images)
    found = measure(images, made, codes, 32, np.arange(9).astype(str))
    error = ((images.astype(float) - made) ** 2).mean(axis=(1, 2, 3))
    assert found["psnr"]["value"] == pytest.approx(np.mean(10 * np.log10(255**2 / error)))
    assert found["psnr"]["low"] < found["psnr"]["value"] < found["psnr"]["high"] and found["psnr"]["value"] > 15
    assert found["interval"] == "Student's, over patients" and 1 < found["codes_used"] <= found["codes"] == 32
    exact = measure(images, images, codes, 32, np.arange(9).astype(str))
    assert exact["ssim"]["value"] == pytest.approx(1) and exact["l1"]["value"] == 0


def test_a_denoiser_of_latents_learns_draws_and_is_read_back_with_its_autoencoder(trained, tmp_path):
    autoencoder, spread = trained
    section, patches = Model.model_validate(LATENT), Patches()
    torch.manual_seed(1)
    model = build_model(section, 16, UNIT, (), (autoencoder, spread))
    batches = Batches(patches, UNIT, model.objective.sample_sigma, 1, False)
    x = batches.read(0, range(8)).image
    latent = model.to_latent(x)
    assert latent.shape == (8, 3, 4, 4) and 0.5 < latent.std() < 2
    assert torch.equal(model.to_uint8(latent), UNIT.to_uint8(autoencoder(x))), "there and back is the autoencoder"
    before = {name: w.clone() for name, w in autoencoder.network.state_dict().items()}
    trainer = Trainer(model, section, batches, tmp_path / "state", "digest", "cpu")
    losses = [trainer.train_step([batches.read(step, range(8))]) for step in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert all(torch.equal(w, before[name]) for name, w in autoencoder.network.state_dict().items()), (
        "it stays as it was"
    )
    card = {
        "section": Model.model_validate(AUTOENCODER).model_dump(mode="json"),
        "patch_px": 16,
        "latent_spread": spread,
    }
    save_model(tmp_path, trainer.ema | model.frozen_weights(), section, UNIT, patch_px=16, autoencoder=card)
    wanted = Samples.model_validate({"model": "m", "batch": 4, "sampler": {"kind": "ddim", "steps": 5}})
    drawn = sample_batch([load_model(tmp_path)], wanted, None, range(3), 16, float("nan"), "cpu")
    assert drawn.shape == (3, 16, 16, 3) and drawn.dtype == np.uint8 and not np.array_equal(drawn[0], drawn[1])


def test_what_cannot_go_together_is_refused():
    recipe = {
        "run": "x",
        "patches": {"p": {"kind": "folder", "path": "p", "size_px": 16}},
        "models": {"vq": AUTOENCODER, "ldm": LATENT},
        "samples": {"s": {"model": "ldm"}},
    }
    assert parse_recipe(recipe).autoencoders == ["vq"]
    wrong = [
        (
            {"models": {"vq": AUTOENCODER, "ldm": LATENT | {"autoencoder": "ldm"}}},
            "is no model with the network `vq-f4`",
        ),
        ({"samples": {"s": {"model": "vq"}}}, r"draws nothing from noise"),
        ({"samples": {"s": {"model": "ldm", "sampler": {"threshold": {}}}}}, "latents have none"),
        ({"patches": {"p": {"kind": "folder", "path": "p", "size_px": 20}}}, "use a multiple of 8 px"),
    ]
    for change, message in wrong:
        with pytest.raises(RecipeError, match=message):
            parse_recipe(recipe | change)
