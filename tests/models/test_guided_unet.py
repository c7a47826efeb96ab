"""Guided diffusion's U-Net: its published size, other sizes of picture, what it is told."""

import pytest
import torch

from histogenesis.models.conditioning import NetworkInputs
from histogenesis.models.model import Normalisation, build_model
from histogenesis.models.networks.guided_unet import GuidedUNet
from histogenesis.models.networks.keys import GuidedUNet as Keys
from histogenesis.recipe import Model

SMALL = {
    "kind": "guided-unet",
    "channels": 8,
    "multipliers": [1, 2],
    "blocks": 1,
    "attention_px": [8],
    "head_channels": 4,
}


@pytest.mark.parametrize(
    "image_px, channels, multipliers, blocks, millions",
    [(128, 256, [1, 1, 2, 3, 4], 2, 422), (64, 192, [1, 2, 3, 4], 3, 296)],
)
def test_it_has_the_published_number_of_weights(image_px, channels, multipliers, blocks, millions):
    """Dhariwal and Nichol 2021: their models of ImageNet's 1000 classes at 128 and 64 px. (Of their 6 outputs ours has 3.)"""
    with torch.device("meta"):
        network = GuidedUNet(
            Keys("guided-unet", channels, multipliers, blocks, [32, 16, 8]), NetworkInputs(image_px, classes=1000)
        )
    assert sum(w.numel() for w in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.6)


def test_patches_of_other_sizes_pass_through_it():
    """Diffusion4Path draws 64 to 224 px with a model that learnt 128 px."""
    with torch.device("meta"):
        network = GuidedUNet(Keys(), NetworkInputs(128, classes=5))
        for px in (64, 96, 128, 160, 192, 224):
            x, zero = torch.empty(2, 3, px, px), torch.zeros(2)
            assert network(x, zero, label_b=zero.long()).shape == x.shape


def model(**changes):
    torch.manual_seed(0)
    section = {
        "patches": "p",
        "conditions": ["mpp", "label", "lowres"],
        "lowres_factor": 2,
        "network": SMALL,
        "objective": {"kind": "eps"},
        "training": {"steps": 1},
    }
    made = build_model(Model.model_validate({**section, **changes}), 16, Normalisation.unit(), ["a", "b"])
    assert all(not w.any() for w in made.network.unet.conv_out.parameters()), "it begins with F = 0"
    for w in made.network.parameters():
        torch.nn.init.normal_(w, std=0.1)
    return made.eval()


def test_it_hears_all_that_it_is_told():
    m = model()
    x, cond_image, one = torch.randn(2, 3, 16, 24), torch.randn(2, 3, 16, 24), torch.ones(2)
    cond = {
        "sigma_b": one,
        "mpp_b": one,
        "cond_image_bchw": cond_image,
        "lowres_noise_b": 0.2 * one,
        "label_b": torch.tensor([0, 1]),
    }
    with torch.inference_mode():
        plain = m(x, **cond)
        assert torch.equal(m(x, **cond | {"label_b": torch.tensor([-1, -1])}), m(x, **cond | {"label_b": None}))
        for other in (
            {"sigma_b": 2 * one},
            {"mpp_b": 3 * one},
            {"cond_image_bchw": -cond_image},
            {"lowres_noise_b": 0.5 * one},
            {"label_b": torch.tensor([1, 0])},
            {"label_b": torch.tensor([-1, -1])},
        ):
            assert not torch.allclose(m(x, **cond | other), plain, atol=1e-3), other
        alone = m(x[:1], **{name: value[:1] for name, value in cond.items()})
        assert torch.allclose(alone, plain[:1], atol=1e-4), "a picture is the same in any batch"


def test_every_weight_learns():
    m = model(conditions=["label"], lowres_factor=None)
    x = torch.randn(2, 3, 16, 16)
    m(x, torch.ones(2), torch.ones(2), label_b=torch.tensor([0, -1])).square().sum().backward()
    still = [name for name, w in m.network.named_parameters() if not w.grad.abs().sum()]
    assert not [name for name in still if not name.endswith("to_k.bias")], "softmax does not see a shift of all keys"


def test_heads_are_whole():
    with pytest.raises(ValueError, match="head_channels 5 does not divide channels 8"):
        Keys(**{**SMALL, "head_channels": 5})
