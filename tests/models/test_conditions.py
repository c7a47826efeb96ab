"""Networks that see pictures beside the noisy one: shapes, noise augmentation, crops, and that training learns to look."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from histogenesis.core.noise import normal
from histogenesis.models.batches import Batches
from histogenesis.models.conditions import add_noise, low_resolution, pictures_of
from histogenesis.models.model import Normalisation, build_model, load_model, save_model
from histogenesis.models.training import Trainer
from histogenesis.recipe import EfficientUNet as EfficientSection
from histogenesis.recipe import Model
from histogenesis.sampling.progress import cond_of, from_noise

UNIT = Normalisation.unit()
EFFICIENT = {"kind": "efficient", "channels": 8, "multipliers": [1, 2], "blocks": [1, 2], "attention": [False, True]}
EFFICIENT |= {"heads": 2}
JIT = {"kind": "jit", "token_px": 4, "channels": 24, "blocks": 2, "heads": 2, "bottleneck": 12}
PLAIN = {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0.0}


class Scenes:
    """Patches that nobody could guess without their context: both have the same random colour. Context is twice as wide."""

    context_ratio, patch_px = 2.0, 16

    def __init__(self, n=64, px=16):
        rng = np.random.default_rng(0)
        self.mpp = np.full(n, 2.0)
        self.images = np.repeat(np.repeat(rng.integers(40, 216, (n, 1, 1, 3)), px, 1), px, 2).astype(np.uint8)
        self.images[:, : px // 2, : px // 2] //= 2  # a corner, so that turns and crops show
        self.contexts = 255 - self.images

    def __len__(self):
        return len(self.mpp)

    def read(self, indices):
        return self.images[indices]

    def read_context(self, indices):
        return self.contexts[indices]


def with_most_to_see(n):
    """Rows of the n scenes whose pixels differ most."""
    images = Scenes().images
    return np.argsort(-images.reshape(len(images), -1).astype(float).std(axis=1), kind="stable")[:n]


def section(network=None, conditions=("lowres", "context"), factor=4, **training):
    values = {"steps": 2, "batch": 4, "precision": "fp32", "lr": 2e-3, "ema_half_life_images": 50} | training
    return Model.model_validate(
        {
            "patches": "p",
            "network": network or PLAIN,
            "objective": {"kind": "v", "timesteps": 50},
            "conditions": list(conditions),
            "lowres_factor": factor if "lowres" in conditions else None,
            "training": values,
        }
    )


def batches(options, **changes):
    cond = {
        "conditions": options.conditions,
        "lowres_factor": options.lowres_factor,
        "crop_px": options.training.crop_px,
    }
    model = build_model(options, 16, UNIT)
    return Batches(Scenes(), UNIT, model.objective.sample_sigma, 3, True, **(cond | changes))


@pytest.mark.parametrize("network", [PLAIN, EFFICIENT, EFFICIENT | {"halve_first": True}, JIT])
@pytest.mark.parametrize("conditions", [[], ["mpp"], ["context"], ["lowres"], ["context", "mpp", "lowres"]])
def test_every_network_takes_every_condition(network, conditions, tmp_path):
    torch.manual_seed(0)
    options = section(network, conditions)
    model = build_model(options, 16, UNIT)
    with torch.no_grad():
        for weight in model.network.parameters():  # an untrained network's blocks do almost nothing
            weight.add_(0.1 * torch.randn(weight.shape))
    model.eval()
    x, sigma, mpp = torch.randn(2, 3, 16, 24), torch.tensor([0.5, 2.0]), torch.tensor([4.0, 8.0])
    count = len(pictures_of(conditions))
    cond = {"cond_image_bchw": torch.randn(2, 3 * count, 16, 24)} if count else {}
    if "lowres" in conditions:
        cond["lowres_noise_b"] = torch.tensor([0.1, 0.9])
    with torch.no_grad():
        plain = model(x, sigma, mpp, **cond)
        assert plain.shape == x.shape
        for name, value in cond.items():
            assert not torch.allclose(model(x, sigma, mpp, **{**cond, name: value.flip(0)}), plain, atol=1e-5), name
        assert torch.allclose(
            model(x[:1], sigma[:1], mpp[:1], **{k: v[:1] for k, v in cond.items()}), plain[:1], atol=1e-5
        )
    save_model(tmp_path, model.network.state_dict(), options, UNIT, patch_px=16)
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path)(x, sigma, mpp, **cond), plain)


def test_the_efficient_unet_has_the_published_shapes():
    """URCDM's networks: dim 256, multipliers 1-2-3-4 and dim 128, multipliers 1-2-4-8 with 2-4-6-8 blocks."""
    with torch.device("meta"):
        base = build_model(
            section(
                EFFICIENT
                | {"channels": 256, "multipliers": [1, 2, 3, 4], "blocks": [3] * 4, "attention": [False] + [True] * 3}
            ),
            64,
            UNIT,
        ).network
        large = build_model(
            section(
                EFFICIENT
                | {"channels": 128, "multipliers": [1, 2, 4, 8], "blocks": [2, 4, 6, 8], "attention": [False] * 4}
                | {"halve_first": True}
            ),
            256,
            UNIT,
        ).network
        assert [len(blocks) for _, blocks in large.down] == [2, 4, 6, 8]
        assert [blocks[-1].conv1.out_channels for _, blocks in base.down] == [256, 512, 768, 1024]
        assert [[bool(block.heads) for block in blocks] for _, blocks in base.down] == [
            [False, False, False],
            *[[False, False, True]] * 3,
        ]
        x = torch.zeros(1, 9, 1024, 1024, device="meta")
        one = torch.zeros(1, device="meta")
        assert large(x, one, one, None, one).shape == (1, 3, 1024, 1024)
        assert section(large_section()).size_multiple_px == 16
    count = sum(p.numel() for p in base.parameters())
    assert 2e8 < count < 6e8, f"{count} parameters; Imagen's base of this size has about 300 M"


def large_section():
    return EFFICIENT | {
        "multipliers": [1, 2, 4, 8],
        "blocks": [2, 4, 6, 8],
        "attention": [False] * 4,
        "halve_first": True,
    }


def test_each_level_has_one_entry_of_each_kind():
    with pytest.raises(ValueError, match="one entry a level each"):
        EfficientSection(kind="efficient", multipliers=[1, 2], blocks=[1], attention=[False, False])


def test_a_low_resolution_picture_keeps_its_averages_and_noise_its_variance():
    g = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 64, 64, generator=g)
    flat = image.mean() * torch.ones(1, 3, 64, 64)
    assert torch.allclose(low_resolution(flat, 4), flat)
    assert low_resolution(image, 4).std() < 0.3 * image.std()
    unit, noise = torch.randn(4, 3, 64, 64, generator=g), torch.randn(4, 3, 64, 64, generator=g)
    level = torch.tensor([0.0, 0.2, 0.5, 1.0])
    mixed = add_noise(unit, level, noise)
    assert torch.allclose(mixed.std(dim=(1, 2, 3)), torch.ones(4), atol=0.03), "the variance is preserved"
    share = (mixed * unit).mean(dim=(1, 2, 3)) ** 2
    assert torch.allclose(share, torch.tensor([1.0, 0.67, 0.082, 0.0]), atol=0.03)


def test_the_pictures_are_turned_and_cropped_with_the_patch():
    whole = batches(section()).read(0, range(12))
    assert whole.cond_image.shape == (12, 6, 16, 16) and whole.lowres_noise.shape == (12,)
    assert torch.allclose(whole.cond_image[:, 3:], -whole.image, atol=1e-6), "the context is turned as the patch is"
    options = section(EFFICIENT | {"attention": [False, False]}, crop_px=8)
    cropped = batches(options).read(0, range(12))
    assert cropped.image.shape == (12, 3, 8, 8) and cropped.cond_image.shape == (12, 6, 8, 8)
    assert torch.allclose(cropped.cond_image[:, 3:], -cropped.image, atol=1e-6)
    corners = {tuple((cropped.image[i, 0] < cropped.image[i].max()).flatten().tolist()) for i in range(12)}
    assert len(corners) > 5, "crops lie at different places"
    again = batches(options).read(0, range(5, 7))
    for a, b in zip(again[:-1], cropped):  # the last one, the label, is not told
        assert torch.equal(a, b[5:7]), "a sample is the same in every batch"


def test_all_of_the_context_may_be_shown_beside_a_crop():
    """URCDM's code: the whole view, resized, wherever the crop lies; drawing shows the same, as there the tile is the patch."""
    options = section(EFFICIENT | {"attention": [False, False]}, crop_px=8)
    whole = batches(section()).read(0, range(12))
    shown = batches(options, crop_context=False).read(0, range(12))
    cropped = batches(options).read(0, range(12))
    assert torch.equal(shown.image, cropped.image), "of the picture itself nothing changes"
    assert torch.allclose(shown.cond_image[:, 3:], avg_pool2d(whole.cond_image[:, 3:], 2), atol=1e-6)
    assert torch.equal(shown.cond_image[:, :3], cropped.cond_image[:, :3])
    early = batches(section(conditions=["context"], network=options.network, crop_px=8), crop_context=False)
    assert not early.early and early.read(0, range(12)).cond_image.shape == (12, 3, 8, 8)


def test_without_pictures_nothing_changes():
    plain = Batches(Scenes(), UNIT, lambda n: n.exp(), 3, True).read(4, range(6))
    cond = Batches(Scenes(), UNIT, lambda n: n.exp(), 3, True, conditions=["context"]).read(4, range(6))
    assert plain.cond_image is None and plain.lowres_noise is None
    for a, b in zip(plain[:5], cond[:5]):
        assert torch.equal(a, b)


def test_training_learns_to_look_at_the_context(tmp_path):
    """At the highest noise the colour can be known from the context alone."""
    torch.set_num_threads(1)
    options = section(conditions=["context"], steps=250, batch=8, lr=5e-3)
    torch.manual_seed(0)
    trainer = Trainer(build_model(options, 16, UNIT), options, batches(options), tmp_path, "d", "cpu")
    trainer.run(None, None)
    batch = batches(options).read(10_000, range(16))
    sigma = torch.full((16,), 20.0)
    with torch.no_grad():
        x = batch.image + 20 * batch.noise
        right = trainer.denoiser(x, sigma, batch.mpp, None, batch.cond_image)
        wrong = trainer.denoiser(x, sigma, batch.mpp, None, batch.cond_image.roll(1, 0))
    error, misled = (float((d - batch.image).square().mean()) for d in (right, wrong))
    spread = float(batch.image.var())
    assert error < 0.7 * spread and misled > 1.2 * spread, (
        f"{error} and {misled}; the best guess without context: {spread}"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conditions": ["lowres"], "lowres_factor": None}, "`lowres` and the key `lowres_factor` go together"),
        ({"conditions": [], "lowres_factor": 4}, "`lowres` and the key `lowres_factor` go together"),
        ({"conditions": ["mpp", "mpp"], "lowres_factor": None}, "listed twice"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(change, message):
    values = section().model_dump(mode="json") | change
    with pytest.raises(ValueError, match=message):
        Model.model_validate(values)


@pytest.mark.parametrize("conditions", [[], ["context"], ["lowres", "context"]])
def test_samples_are_drawn_beside_held_out_pictures(conditions):
    options = section(conditions=conditions, sample_images=3)
    checks = batches(options, crop_px=None)
    checks.augment = False
    cond = cond_of(checks, 2.0, 3, 16, seed=1)
    model = build_model(options, 16, UNIT).eval()
    with torch.no_grad():
        rows = from_noise(model, options, checks, [2.0, 1.9], "cpu")
    assert [row.shape for row in rows] == [(3, 3, 16, 16)] * 2 and all(torch.isfinite(row).all() for row in rows)
    if conditions:
        context = UNIT.encode(torch.from_numpy(Scenes().contexts[with_most_to_see(3)].transpose(0, 3, 1, 2).copy()))
        assert torch.equal(cond["cond_image_bchw"][:, -3:], context), "the held-out patches' own, not turned"
        assert ("lowres_noise_b" in cond) == ("lowres" in conditions)
    else:
        assert cond == {}


def test_the_noise_of_what_is_shown_stays_within_its_limit():
    """The same draws, a tenth as large; and the picture has the noise that the network is told of."""
    options = section(conditions=["lowres"])
    whole, tenth = (batches(options, lowres_noise_limit=limit).read(0, range(64)) for limit in (1.0, 0.1))
    np.testing.assert_allclose(10 * tenth.lowres_noise, whole.lowres_noise, rtol=1e-5)
    assert (
        tenth.lowres_noise.min() > 0 and 0.08 < tenth.lowres_noise.max() < 0.1 and torch.equal(tenth.image, whole.image)
    )
    clean = batches(options, lowres_noise_limit=1e-9).read(0, range(64)).cond_image
    left = torch.exp(-1e-4 - 10 * tenth.lowres_noise**2)  # alpha_bar
    noise = (tenth.cond_image - left.sqrt()[:, None, None, None] * clean).std(dim=(1, 2, 3))
    np.testing.assert_allclose(noise, (1 - left).sqrt(), rtol=0.15, atol=0.02)


def test_a_model_of_little_noise_draws_its_samples_from_what_a_level_above_would_show():
    """Its first question is the held-out patches' average over 2 x 2 px, with noise of the trained limit and no more."""
    values = section(conditions=[], sample_images=3).model_dump(mode="json")
    options = Model.model_validate(values | {"objective": {"kind": "edm", "sigma_limit": 5.0}})
    checks, model = batches(section(conditions=[]), crop_px=None), build_model(options, 16, UNIT)
    asked = []

    def forward(x, sigma, mpp, **cond):
        asked.append((float(sigma[0]), x))
        return torch.zeros_like(x)

    model.forward = forward
    from_noise(model, options, checks, [2.0], "cpu")
    patches = torch.from_numpy(Scenes().images[with_most_to_see(3)].transpose(0, 3, 1, 2).copy()).float()
    above = UNIT.encode(
        patches.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    sigma, x = asked[0]
    assert sigma == max(s for s, _ in asked) == 5.0
    noise = torch.from_numpy(normal((3, 3, 16, 16), "samples", options.training.seed))
    assert torch.allclose(x, above + 5 * noise, atol=1e-4)
