"""The pixel transformer (Li and He 2025): rotary places, blocks that begin as nothing, sizes of the paper, training, drawing.

Against the published code with its weights in ours: docs/measurements/papers.md.
"""

import copy

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from test_training import Stripes
from test_training import weights as all_weights

from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.costs import cost
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.model import build_model, load_model, save_model
from histogenesis.models.networks.jit import RMSNorm, rotate, turns
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.objectives import Flow
from histogenesis.models.training import Trainer, validation_loss
from histogenesis.recipe import Level, Model
from histogenesis.recipe.fitting import check_size

SMALL = {"kind": "jit", "token_px": 4, "channels": 24, "blocks": 4, "heads": 2, "bottleneck": 12, "dropout": 0.1}
# JiT-B/16, L/16 and H/16: millions of weights as the paper has them, and what its published code has on the device `meta`
# without its fixed table of absolute places; all of them ours but for 32 places of tokens in context.
SIZES = {"B": (768, 12, 12, 128, 131, 131_123_712), "L": (1024, 24, 16, 128, 459, 458_877_664)}
SIZES["H"] = (1280, 32, 16, 256, 953, 952_514_368)


def section(network=None, conditions=("mpp",), **training):
    values = {"steps": 12, "batch": 8, "lr": 3e-3, "precision": "fp32", "checkpoint_every": 4, "log_every": 4}
    network, objective = SMALL | (network or {}), {"kind": "flow", "p_mean": -0.5}
    own = {"patches": "p", "network": network, "objective": objective, "conditions": list(conditions)}
    return Model.model_validate(own | {"training": values | {"ema_half_life_images": 50} | training})


def network(scale=0.1, **keys):
    """With weights that are not those of the beginning, where it gives nothing."""
    torch.manual_seed(0)
    made = build_model(section(keys), 16, Normalisation.unit()).network.eval()
    for weight in made.parameters():
        weight.data += scale * torch.randn_like(weight)
    return made


def trainer(folder, **training):
    torch.set_num_threads(1)
    patches, options = Stripes(), section(**training)
    normalisation = normalisation_of(patches, 0.5)
    torch.manual_seed(0)
    denoiser = Denoiser(options, 16, normalisation)
    batches = Batches(patches, normalisation, denoiser.objective.sample_sigma, 1, True)
    made = Trainer(denoiser, options, batches, folder, "d", "cpu")
    made.resume()
    return made


# ------------------------------------------------------------------------------------------------- rotary places


def frequencies(channels):
    per_axis = channels // 2
    return 10_000.0 ** (-torch.arange(0, per_axis, 2).double() / per_axis)


def test_a_turn_is_a_product_of_complex_numbers():
    """Pairs of channels as a + ib: the first half of them times exp(i f row), the other times exp(i f column)."""
    rows, columns, channels = 3, 5, 16
    f, x = frequencies(channels), torch.randn(rows, columns, channels, dtype=torch.float64)
    found = rotate(x.flatten(0, 1), *turns(rows, columns, f, torch.float64)).unflatten(0, (rows, columns))
    for y in range(rows):
        for column in range(columns):
            z = x[y, column, 0::2].numpy() + 1j * x[y, column, 1::2].numpy()
            wanted = z * np.exp(1j * np.concatenate([f.numpy() * y, f.numpy() * column]))
            assert np.allclose(found[y, column, 0::2], wanted.real) and np.allclose(found[y, column, 1::2], wanted.imag)


def test_attention_knows_how_far_apart_two_tokens_are_and_not_where():
    """The same query and key at every token: their product is one number for each distance in rows and columns."""
    rows, columns, channels = 4, 6, 16
    q, k = torch.randn(2, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = [
        rotate(one.expand(rows * columns, -1), *turns(rows, columns, frequencies(channels), q.dtype)) for one in (q, k)
    ]
    products = (turned[0] @ turned[1].T).reshape(rows, columns, rows, columns)
    by_distance = {}
    for (y, x, v, u), value in np.ndenumerate(products.numpy()):
        by_distance.setdefault((v - y, u - x), []).append(value)
    assert all(np.ptp(values) < 1e-12 for values in by_distance.values())
    means = np.array([values[0] for values in by_distance.values()])
    apart = np.abs(means[:, None] - means[None])[~np.eye(len(means), dtype=bool)]
    assert len(means) == (2 * rows - 1) * (2 * columns - 1) and apart.min() > 1e-4, "and no two distances are one"
    assert by_distance[0, 0][0] == pytest.approx(float(q @ k))


def test_a_token_is_the_same_in_a_larger_picture_that_it_cannot_see():
    """Attention among tokens that are all alike gives what one alone gives, wherever each stands."""
    made, told = network(), (torch.full((1,), 0.4), torch.full((1,), 2.0))
    tile = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        alone = made(tile, *told)
        many = made(tile.repeat(1, 1, 3, 5), *told)
    assert many.shape == (1, 3, 12, 20) and alone.std() > 0.1
    assert torch.allclose(many, alone.repeat(1, 1, 3, 5), atol=1e-5)


def test_a_picture_is_not_its_mirror_image_to_it():
    """Places matter: tokens in another order give other tokens than the same ones in that order."""
    made, told = network(scale=0.3), (torch.full((1,), 0.4), torch.full((1,), 2.0))
    tokens = torch.randn(1, 3, 4, 4, 4)  # (1, channels, tokens in a row, y, x)
    with torch.no_grad():
        straight, shuffled = (
            made(tokens[:, :, order].permute(0, 1, 3, 2, 4).flatten(3), *told).unflatten(3, (4, 4))
            for order in ([0, 1, 2, 3], [2, 0, 3, 1])
        )
    assert (shuffled - straight[:, :, :, [2, 0, 3, 1]]).abs().max() > 1e-3


# ------------------------------------------------------------------------------------------------------ the blocks


def test_at_first_blocks_do_nothing_and_the_network_says_nothing():
    made = build_model(section(), 16, Normalisation.unit()).network
    x, embedding = torch.randn(2, 16, 24), torch.randn(2, 24)
    for block in made.blocks:
        assert torch.equal(block(x, embedding, turns(4, 4, made.frequencies, x.dtype), None), x)
    told = torch.tensor([0.2, 0.9]), torch.tensor([2.0, 8.0])
    assert torch.equal(made(torch.randn(2, 3, 16, 16), *told), torch.zeros(2, 3, 16, 16))
    made(torch.randn(2, 3, 16, 16), *told).sum().backward()
    assert made.last.bias.grad.abs().sum() > 0, "but it learns"


def test_noise_and_mpp_change_what_a_block_does():
    made, x = network(), torch.randn(1, 3, 16, 16)
    ask = lambda t, mpp: made(x, torch.tensor([t]), torch.tensor([mpp]))  # noqa: E731
    with torch.no_grad():
        assert (ask(0.2, 2.0) - ask(0.8, 2.0)).abs().max() > 1e-3 < (ask(0.2, 2.0) - ask(0.2, 8.0)).abs().max()


def test_pixels_return_to_where_they_came_from():
    """Without blocks a token gives back its own pixels, and those alone, through an identity of a last layer."""
    made = network(scale=0.0, blocks=1, bottleneck=48, channels=48, heads=2)
    with torch.no_grad():
        made.first.weight.copy_(torch.eye(48).reshape(48, 3, 4, 4))
        made.second.weight.copy_(torch.eye(48))
        order = torch.arange(48).reshape(3, 4, 4).permute(1, 2, 0).flatten()  # last: y, x, channel
        made.last.weight.copy_(torch.eye(48)[order])
        x = torch.randn(2, 3, 8, 16)
        y = made(x, torch.tensor([0.1, 0.9]), torch.tensor([1.0, 1.0]))
    size = x.unfold(2, 4, 4).unfold(3, 4, 4).square().mean(dim=(1, 4, 5), keepdim=True).sqrt()
    size = size[..., 0, 0].repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.allclose(y, x / size, atol=1e-5), "its last normalisation divides each token by its root mean square"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm(dtype):
    norm = RMSNorm(64)
    norm.weight.data = torch.linspace(0.5, 2, 64)
    x = 30 * torch.randn(5, 64).to(dtype)
    wanted = x.double() / (x.double().square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * norm.weight.double()
    assert norm(x).dtype == dtype
    assert torch.allclose(norm(x).double(), wanted, rtol=1e-5 if dtype == torch.float32 else 2**-7)


# ---------------------------------------------------------------------------------------------- sizes and refusals


@pytest.mark.parametrize("size", SIZES)
def test_the_papers_sizes(size):
    channels, blocks, heads, bottleneck, millions, published = SIZES[size]
    keys = {"token_px": 16, "channels": channels, "blocks": blocks, "heads": heads, "bottleneck": bottleneck}
    found = cost(section(keys, ["label"]).model_dump(mode="json"), 256, half=False)
    others = (
        32 + 1000 - 2
    ) * channels  # places of tokens in context; ImageNet's classes, of which two are counted here
    assert found.parameters + others == published
    assert round(published / 1e6) == millions
    # Multiplications: of a block's tokens, of its conditions, of attention; of both ends; of what is told.
    tokens, hidden = 256, int(4 * channels * 2 / 3)
    block = tokens * (4 * channels**2 + 3 * channels * hidden) + 6 * channels**2 + 2 * tokens**2 * channels
    ends = tokens * (2 * 768 * bottleneck + channels * (bottleneck + 768) - 768 * bottleneck)
    told = 256 * channels + channels**2 + 2 * channels**2
    assert found.flop / 2 == pytest.approx(blocks * block + ends + told, rel=1e-9)


def model_of(**keys):
    return section(keys).network


def test_it_takes_multiples_of_a_token_and_heads_that_fit():
    assert section({"token_px": 12}).size_multiple_px == 12, "no power of two"
    model_of(channels=24, heads=2).check(16)
    with pytest.raises(ValueError, match="splits 24 channels into 5 heads, which do not divide them"):
        model_of(heads=5).check(16)
    with pytest.raises(ValueError, match=r"has heads of 6 channels.* multiple of 4 times `heads`"):
        model_of(heads=4).check(16)
    with pytest.raises(ValidationError, match="token_px"):
        model_of(token_px=0)


def test_a_tile_is_a_crop_or_up_to_twice_as_wide():
    learnt = section(crop_px=16)
    for px in (16, 32):
        check_size(px, learnt)
    for px in (12, 36):
        with pytest.raises(ValueError, match="it draws tiles of 16 to 32 px"):
            check_size(px, learnt)


# ------------------------------------------------------------------------------------------------------ objective


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 9.0])
def test_its_loss_is_that_of_the_velocity(sigma):
    """The paper's training step: z = t x + (1 - t) e, v = (x - z) / max(1 - t, 0.05), with x the network's own output."""
    image, noise, said = torch.randn(3, 2, 3, 8, 8, dtype=torch.float64)
    t = 1 / (1 + torch.tensor(sigma, dtype=torch.float64))
    z, share = t * image + (1 - t) * noise, max(1 - float(t), 0.05)
    wanted = (((image - z) / share - (said - z) / share) ** 2).mean()
    flow, s = Flow(0.5, 0.8, 0.8), torch.tensor(sigma, dtype=torch.float64)
    scalings, noisy = flow.scalings(s), image + sigma * noise
    assert torch.allclose(scalings.into * noisy, z) and float(scalings.noise) == pytest.approx(float(t))
    denoised = scalings.skip * noisy + scalings.out * said
    assert float(flow.weight(s) * (denoised - image).square().mean()) == pytest.approx(float(wanted), rel=1e-9)


def test_its_time_is_logit_normal():
    """logit t ~ N(-0.8, 0.8^2) by the defaults of the recipe, which are the paper's."""
    objective = Model.model_validate(
        {"patches": "p", "network": SMALL, "objective": {"kind": "flow"}, "training": {"steps": 1}}
    ).objective
    assert (objective.p_mean, objective.p_std) == (0.8, 0.8)
    flow = Flow(objective.sigma_data, objective.p_mean, objective.p_std)
    t = flow.scalings(flow.sample_sigma(torch.randn(20_000, generator=torch.Generator().manual_seed(0)))).noise
    assert float(t.logit().mean()) == pytest.approx(-0.8, abs=0.02)
    assert float(t.logit().std()) == pytest.approx(0.8, abs=0.02)


# ------------------------------------------------------------------------------------------------ training, drawing


def test_it_learns(tmp_path):
    t = trainer(tmp_path, steps=150)
    held_out = Batches(Stripes(), t.batches.normalisation, t.denoiser.objective.sample_sigma, 9, False)
    before = validation_loss(t, held_out, 32)
    t.run(None, None)
    assert validation_loss(t, held_out, 32) < 0.3 * before


def test_a_resumed_training_ends_with_the_same_weights(tmp_path):
    """With dropout, whose masks belong to a sample and a layer."""
    whole, first = trainer(tmp_path / "whole"), trainer(tmp_path / "pieces", steps=8)
    whole.run(None, None)
    first.run(None, None)
    second = trainer(tmp_path / "pieces")
    assert second.step == 8
    second.run(None, None)
    assert torch.equal(all_weights(whole), all_weights(second))


def test_dropout_is_in_the_middle_half_and_only_in_training():
    made = network()
    assert [block.dropout for block in made.blocks] == [0.0, 0.1, 0.1, 0.0]
    x, told = torch.randn(2, 3, 16, 16), (torch.tensor([0.2, 0.9]), torch.tensor([2.0, 8.0]))
    key = torch.tensor([5, 6], dtype=torch.int32)
    with torch.no_grad():
        drawn = made(x, *told, key)
        made.train()
        first, second, other = made(x, *told, key), made(x, *told, key), made(x, *told, key + 1)
    assert torch.equal(first, second) and not torch.equal(first, other) and not torch.equal(first, drawn)


def test_it_draws_levels_by_tiles_larger_than_its_crops(tmp_path):
    """By the engine, from a saved model, whatever the batch."""
    made = build_model(section(crop_px=16), 16, Normalisation([128.0] * 3, 40.0, 0.5))
    for weight in made.network.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    weights = copy.deepcopy(made.network.state_dict())
    save_model(tmp_path, weights, section(crop_px=16), made.normalisation, patch_px=16, classes=[])
    model = load_model(tmp_path)
    level = Level.model_validate(
        {"mpp": 4, "size_px": (64, 96), "model": "m", "tile_px": 32, "batch": 3, "joining": {"kind": "grid-shift"}}
        | {"constraint": {"kind": "none"}, "sampler": {"kind": "dpmpp-2m", "steps": 4}}
    )
    drawn = {}
    for batch in (1, 4):
        bundle = Bundle(model, model.normalisation)
        options = level.model_copy(update={"batch": batch})
        drawing = Drawing(options, (64, 96), bundles=[bundle], above=None, plan=None, seed=1, slide="s", k=1)
        drawn[batch] = drawing.run(tmp_path / str(batch), "digest").before("x").float().numpy().copy()
    assert np.allclose(drawn[1], drawn[4], atol=1e-3) and 0.05 < drawn[1].std() < 5
    assert drawn[1].size == 3 * 64 * 96
