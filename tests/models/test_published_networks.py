"""The papers' networks, to the parameter and the multiplication, against their published code.

The published figures were counted on that code itself (imagen-pytorch's Unet as URCDM calls it; Diffusion4Path's two; Son's;
EDM's for Harb, whose code is not public), with PyTorch's own counter. Nothing is computed here: the networks are built
on the device `meta`.
"""

import pytest

from histogenesis.models.costs import cost
from histogenesis.recipe import load_recipe

URCDM = {  # network -> parameters that a picture reaches, those that none does, GMAC of one picture, its px
    "m0-64": (410_201_124, 2_572_288, 129.060947, 64),
    "m0-256": (299_486_070, 959_104, 227.401337, 256),
    "m0-1024": (689_281_678, 959_104, 374.898887, 256),
    "m1-64": (410_257_188, 2_572_288, 129.290585, 64),
    "m1-256": (299_514_102, 959_104, 229.238442, 256),
    "m2-1024": (689_309_710, 959_104, 376.735992, 256),
}


def idle(dim, told, heads=8, head=64, latents=32, pooled=4, depth=2):
    """Weights that imagen-pytorch makes for a text and that no picture reaches: what stands for no text, and the pooling of
    its words (a position for each of 512, `latents`, `depth` layers of attention and of feed-forwards 4 times as wide)."""
    inner = heads * head
    attention = 2 * 2 * dim + dim * inner + dim * 2 * inner + 2 * head + inner * dim + 2 * dim
    feed = dim + dim * 4 * dim + 4 * dim + 4 * dim * dim
    mean = dim + dim * dim * pooled + dim * pooled
    return 256 * dim + told + 512 * dim + latents * dim + mean + depth * (attention + feed)


@pytest.fixture(scope="module")
def recipe(root):
    return lambda name: load_recipe(root / f"config/published/{name}.yaml")


def counted(model, px, learnt_px=None):
    section = model.model_dump(mode="json")
    found = cost(section, px, half=False, learnt_px=learnt_px)
    return found.parameters, found.flop / 2e9


@pytest.mark.parametrize("name", URCDM)
def test_urcdm(recipe, name):
    parameters, unreached, gmac, px = URCDM[name]
    found, macs = counted(recipe("urcdm").models[name], px)
    assert found == parameters
    assert macs == pytest.approx(gmac, rel=1e-6)
    dim, told = (256, 1024) if px == 64 else (128, 1024)
    assert idle(dim, told) == unreached


def test_the_figures_of_urcdms_papers_code_in_millions():
    totals = [round((URCDM[name][0] + URCDM[name][1]) / 1e6, 1) for name in ("m1-64", "m1-256", "m2-1024")]
    assert totals == [412.8, 300.5, 690.3]


@pytest.mark.parametrize(
    "attention, parameters, mac", [("none", 32_785_286, 754_484_736), ("self", 36_140_422, 835_503_616)]
)
def test_son(recipe, attention, parameters, mac):
    arms = [model for name, model in recipe("son").trained_models.items() if f"attention_channels-{attention}" in name]
    assert len(arms) == 2 * 1  # linear and cosine, one seed as in the paper
    for model in arms:
        found, gmac = counted(model, 32)
        assert found == parameters and gmac == mac / 1e9


def test_diffusion4path(recipe):
    models = recipe("diffusion4path").trained_models
    classes = 2 + 1  # of the counter's two, and no class at all
    latent, pixels = models["ldm"], models["ddpm"]
    parameters, gmac = counted(latent, 32)
    assert parameters == 306_107_907 + classes * 512  # there the classes' 512 numbers lie beside the network
    assert gmac == pytest.approx(23.556993, rel=1e-4)
    parameters, gmac = counted(pixels, 128)
    assert parameters == 58_663_683 + (classes - 5) * 512  # there 5 classes, and none for no class
    assert gmac == pytest.approx(26.207912, rel=1e-6)


def test_edms_network_at_harbs_table(recipe):
    """Supplement table 2 in SongUNet of Karras et al.: 32,326,339 weights, 132.287005 GMAC. Ours tells the mpp with one more
    embedding, and pools by averages, where SongUNet has convolutions of 2 x 2 px in both branches of a block."""
    told = 64 * 256 + 256 + 256 * 256 + 256
    down = 32 * 256**2 + 64 * (128**2 + 64**2) + 128 * (32**2 + 16**2) + 256 * 8**2  # channels x px of what comes out
    up = 256 * (8**2 + 16**2) + 128 * (32**2 + 64**2) + 64 * (128**2 + 256**2)  # of what goes in
    parameters, gmac = counted(recipe("harb").models["shared"], 512)
    assert parameters == 32_326_339 + told
    assert gmac == pytest.approx(132.287004672 - 2 * 4 * (down + up) / 1e9 + (64 + 256) * 256 / 1e9, abs=1e-9)
