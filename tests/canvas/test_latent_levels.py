"""Levels in a latent space: drawn as others are, and decoded window by window without a seam."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from test_draw import After, Shuffled
from torch.nn.functional import interpolate

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.canvas import write_level
from histogenesis.canvas.codec import LatentCodec, codec_of
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.canvas.tiling import ForegroundMask
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped
from histogenesis.models.batches import Batches
from histogenesis.models.model import Normalisation, build_model
from histogenesis.recipe import Level, Model, RecipeError, load_recipe, parse_recipe
from histogenesis.recipe.imported import check_fits
from histogenesis.report import cost

UNIT, BACKGROUND = Normalisation.unit(), (240, 230, 241)
VQ = {"kind": "vq-f4", "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "codebook_size": 64, "code_channels": 2}
NETWORK = {"channels": 8, "multipliers": [1, 2], "blocks": 1, "attention_px": [], "heads": 1, "dropout": 0}
TRAINING = {"steps": 1, "precision": "fp32"}


def sections(*conditions):
    """Of an autoencoder, and of a model in its space that is told the conditions."""
    common = {"patches": "p", "training": TRAINING}
    autoencoder = common | {"network": VQ, "objective": {"kind": "autoencoder"}, "conditions": []}
    factor = {"lowres_factor": 2} if "lowres" in conditions else {}
    objective = {"kind": "eps", "timesteps": 20}
    latent = common | {"network": NETWORK, "objective": objective, "conditions": list(conditions), "autoencoder": "vq"}
    return Model.model_validate(autoencoder), Model.model_validate(latent | factor)


def latent_model(*conditions):
    """Untrained, but for codes and weights of a size at which codes, colours and tiles differ."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    autoencoder, section = sections(*conditions)
    first_stage = build_model(autoencoder, 32, UNIT).eval()
    with torch.no_grad():
        for name, weights in first_stage.network.named_parameters():
            if "codes" in name:
                weights.normal_()
        spread = first_stage.network.encode(torch.rand(4, 3, 32, 32) * 2 - 1).std().item()
    model = build_model(section, 32, UNIT, (), (first_stage, spread))
    with torch.no_grad():
        model.network.last.weight.normal_(0, 0.05)
    return model.eval().requires_grad_(False)


def level(joining="grid-shift", constraint="none", batch=3, tile_px=32, kind="dpmpp-2m"):
    joined = {"kind": joining} | ({"stride_px": 24} if joining == "average" else {})
    values = {"mpp": 4, "model": "m", "tile_px": tile_px, "batch": batch, "joining": joined, "lowres_noise": 0.1}
    sampler = {"kind": kind, "steps": 3}
    return Level.model_validate(values | {"constraint": {"kind": constraint}, "sampler": sampler})


def drawing(model, section, size=(80, 104), **more):
    bundle = Bundle(model, model.normalisation, model.conditions, model.objective.sigmas, codec_of(model))
    return Drawing(section, size, 1, 1, "s", [bundle], background=BACKGROUND, **more)


def picture(d, folder, **kwargs):
    d.finish(d.run(folder, "digest", **kwargs), folder / "level.h5")
    with LevelFile(folder / "level.h5") as finished:
        return finished.image[:]


@pytest.fixture
def above(tmp_path):
    """Smooth colours, half as large as the level."""
    y, x = np.mgrid[:40, :52]
    rows = np.stack([100 + 2 * y, 120 + x, 160 + 0 * x], axis=-1).astype(np.uint8)
    write_level(tmp_path / "above.h5", [(0, rows)], 40, 52, {"mpp": 8.0})
    return LevelFile(tmp_path / "above.h5")


@pytest.fixture
def plan():
    found = np.zeros((20, 26), bool)
    found[3:9, 5:14] = True
    return found


@pytest.mark.parametrize(
    ("joining", "kind"), [("grid-shift", "dpmpp-2m"), ("average", "heun"), ("independent", "ddpm")]
)
def test_a_level_is_drawn_in_latents_whatever_order_or_interruption(tmp_path, joining, kind):
    model = latent_model()
    whole = drawing(model, level(joining, kind=kind))
    planes = whole.run(tmp_path / "whole", "digest")
    assert planes.before("x").shape == (2, 20, 26) and whole.layout.tile == 8
    first = np.concatenate([rows for _, rows in whole.bands(planes)])
    assert first.shape == (80, 104, 3) and first.std() > 1

    shuffled, pieces = drawing(model, level(joining, kind=kind)), 0
    shuffled.schedule = Shuffled(shuffled.schedule)
    while True:
        try:
            again = shuffled.run(tmp_path / "pieces", "digest", After(3))
            break
        except Stopped:
            pieces += 1
    assert pieces > 2
    assert np.array_equal(first, np.concatenate([rows for _, rows in shuffled.bands(again)]))


def test_the_batch_of_tiles_changes_only_rounding(tmp_path):
    model = latent_model()
    a, b = (drawing(model, level(batch=n)).run(tmp_path / str(n), "d").before("x").numpy().copy() for n in (2, 5))
    assert np.abs(a - b).max() < 1e-4


def test_what_is_not_drawn_is_background_and_latents_about_its_border_are_drawn(tmp_path, above, plan):
    model, evaluated = latent_model(), []
    d = drawing(model, level(), above=above, plan=plan)
    denoise = d.bundles[0].denoise
    d.bundles[0].denoise = lambda x, *more, **cond: evaluated.append(len(x)) or denoise(x, *more, **cond)
    image = picture(d, tmp_path / "state")
    drawn = ForegroundMask(plan, 80, 104)[slice(0, 80), slice(0, 104)]
    assert np.all(image[~drawn] == BACKGROUND) and image[drawn].std() > 1
    assert sum(evaluated) < 0.8 * len(d.evaluations[0]) * 3 * 4, "tiles without tissue are not evaluated"
    blocks = drawn.reshape(20, 4, 26, 4).any(axis=(1, 3))
    assert np.array_equal(d.foreground[slice(0, 20), slice(0, 26)], blocks)
    odd = ForegroundMask(np.eye(7, dtype=bool), 80, 104, 4)
    pixels = ForegroundMask(np.eye(7, dtype=bool), 80, 104)[slice(0, 80), slice(0, 104)]
    assert np.array_equal(odd[slice(3, 20), slice(1, 9)], pixels.reshape(20, 4, 26, 4).any(axis=(1, 3))[3:, 1:9])
    assert odd.any((slice(5, 6), slice(0, 26))) and not odd.any((slice(0, 2), slice(20, 26)))


def test_the_background_in_the_state_is_that_colour_encoded(tmp_path, plan):
    model = latent_model()
    d = drawing(model, level(tile_px=64), plan=plan)
    colour = UNIT.encode(torch.tensor(BACKGROUND).reshape(1, 3, 1, 1)).expand(1, 3, 64, 64)
    decoded, to_uint8 = [], model.to_uint8
    model.to_uint8 = lambda z: decoded.append(z) or to_uint8(z)
    easel = d.run(tmp_path / "state", "digest")
    assert easel.background.shape == (2, 1, 1)
    assert torch.equal(easel.background[:, 0, 0], model.to_latent(colour)[0, :, 8, 8])
    list(d.bands(easel))
    nothing_drawn = decoded[0][0, :, 12:, :3].numpy()
    assert np.array_equal(nothing_drawn, np.broadcast_to(easel.background, nothing_drawn.shape)), (
        "beside what is decoded too"
    )
    corner = slice(18, 20), slice(24, 26)
    x = torch.empty(1, 2, 2, 2)
    easel.initial_x(d.schedule[0], [corner], x)
    clean = x - d.evaluations[0][0].sigma * easel.noise([corner])("fresh", 0, 0)
    assert torch.allclose(clean[0], easel.background.expand(2, 2, 2), atol=1e-3)


# ------------------------------------------------------------------------------------------------ decoding


def blurred(z):
    """A decoder that sees one latent around each."""
    z = interpolate(3 * z, scale_factor=4.0, mode="bilinear", align_corners=False)
    return torch.cat([z, z[:, :1]], dim=1)


def tilted(z):
    """A decoder that tells left from right in its window: the worst that one can do."""
    ramp = torch.linspace(-0.5, 0.5, 4 * z.shape[-1])
    return torch.zeros(len(z), 3, 4 * z.shape[-2], 4 * z.shape[-1]) + ramp


def whole_and_tiled(model, z, side):
    height, width = z.shape[1:]
    codec = LatentCodec(model)
    bands = list(
        codec.bands(lambda w: torch.from_numpy(z)[(slice(None), *w)], lambda w: True, (height, width), side, 3)
    )
    assert max(len(rows) for _, rows in bands) <= 4 * side and [y for y, _ in bands] == sorted({y for y, _ in bands})
    tiled = np.concatenate([rows for _, rows in bands]).astype(int)
    return model.to_uint8(torch.from_numpy(z)[None])[0].permute(1, 2, 0).numpy().astype(int), tiled


@pytest.mark.parametrize(("size", "side"), [((40, 61), 16), ((16, 16), 16), ((17, 50), 16), ((33, 23), 12)])
def test_decoding_in_windows_is_decoding_the_whole_where_the_decoder_sees_no_farther(size, side):
    model = latent_model()
    model.first_stage.network.decode = blurred
    z = np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32)
    whole, tiled = whole_and_tiled(model, z, side)
    assert whole.std() > 10 and np.abs(whole - tiled).max() <= 1


def test_a_decoder_that_depends_on_its_whole_window_leaves_no_seam():
    """Where windows begin, end or fade, one column differs from the next as it does elsewhere."""
    model = latent_model()

    model.first_stage.network.decode = tilted
    z = np.zeros((2, 16, 72), np.float32)
    _, tiled = whole_and_tiled(model, z, 16)
    assert np.abs(np.diff(tiled[..., 0], axis=1)).max() <= 6, (
        "127 over 64 px is 2 a pixel; faded windows fall back as slowly"
    )

    real = latent_model()
    z = np.random.default_rng(1).normal(size=(2, 32, 64)).astype(np.float32)
    whole, tiled = whole_and_tiled(real, z, 16)
    jumps, as_whole = (np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2)) for picture in (tiled, whole))
    edges = np.arange(1, 6) * 32 - 1
    assert jumps[edges].mean() < 1.15 * as_whole[edges].mean()


# ------------------------------------------------------------------------------------------------ conditions


def test_pictures_are_encoded_as_in_training(tmp_path, above):
    """What a tile is shown of the level above is what training shows of a patch that looks alike: latents with its noise."""
    model = latent_model("mpp", "lowres", "context")
    section = level(constraint="lowres").model_copy(update={"lowres_noise": 0.0})
    d = drawing(model, section, above=above)
    tiles = list(d.schedule[0].tiles.values())[-2:]
    cond = d.cond(section.networks[0], d.bundles[0], tiles, None)["cond_image_bchw"]
    assert cond.shape == (2, 4, 8, 8)

    class Patches:
        mpp, patch_px, label = np.full(4, 4.0), 32, np.full(4, "")

        def __len__(self):
            return 4

        def read(self, indices):
            return np.random.default_rng(0).integers(0, 256, (len(indices), 32, 32, 3), dtype=np.uint8)

        read_context = read

    options = {"conditions": model.conditions, "lowres_factor": 2}
    batch = Batches(Patches(), UNIT, model.objective.sample_sigma, 1, False, **options).read(0, range(2))
    given = []
    model.network.register_forward_hook(lambda network, asked, out: given.append(asked[0]))
    loss = model.sample_loss(batch, dropout=False)
    assert loss.shape == (2,) and batch.cond_image.shape == (2, 6, 32, 32)
    assert torch.equal(
        given[0][:, 2:],
        torch.cat([model.to_latent(batch.cond_image[:, :3]), model.to_latent(batch.cond_image[:, 3:])], 1),
    )
    wide = d.crop.context(type(tiles[0])(4 * tiles[0].y, 4 * tiles[0].x, 32, tiles[0].core))
    wide = UNIT.encode(wide[None])
    assert torch.allclose(cond[:1, 2:], model.to_latent(wide), atol=1e-5)


@pytest.mark.parametrize("constraint", ["lowres", "context"])
def test_a_level_under_another_is_drawn_with_its_pictures(tmp_path, above, constraint):
    model = latent_model("mpp", constraint)
    d = drawing(model, level(constraint=constraint), above=above)
    shown = picture(d, tmp_path / "a")
    rows = np.full((40, 52, 3), 30, np.uint8)
    write_level(tmp_path / "dark.h5", [(0, rows)], 40, 52, {"mpp": 8.0})
    other = picture(drawing(model, level(constraint=constraint), above=LevelFile(tmp_path / "dark.h5")), tmp_path / "b")
    assert shown.shape == other.shape == (80, 104, 3) and not np.array_equal(shown, other)


@pytest.mark.parametrize(("ratio", "align"), [(2, 1), (3, 3), (8, 2)])
def test_no_tile_splits_a_pixel_of_the_level_above(tmp_path, ratio, align):
    """Corners of tiles are multiples of `align` latents, and so of `ratio` px."""
    write_level(tmp_path / "above.h5", [(0, np.zeros((48, 48, 3), np.uint8))], 48, 48, {"mpp": 8.0})
    section = level(constraint="lowres", tile_px=48)
    d = drawing(latent_model("lowres"), section, (48 * ratio, 48 * ratio), above=LevelFile(tmp_path / "above.h5"))
    starts = {
        part.start for stage in range(20) for tile in section.joining.tiles(d.layout, stage) for part in tile.core
    }
    assert {start % align for start in starts} == {0} and any(start % (2 * align) for start in starts)
    assert all(4 * start % ratio == 0 for start in starts)


# ------------------------------------------------------------------------------------------------ refusals and costs


def facts_of(section):
    return {"section": section.model_dump(mode="json"), "mpps": [4], "context_ratio": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joining": {"kind": "inpaint", "stride_px": 24}}, "`joining: inpaint` cannot: it holds finished pixels"),
        ({"cascade": [{"model": "s", "tile_px": 16}]}, "`cascade` cannot: its networks hand on pixels"),
        ({"skip_background": {"share": 0.5}}, "`skip_background` cannot: it holds finished pixels"),
        (
            {"constraint": {"kind": "null-space"}},
            "average of pixels that `null-space` holds means nothing: use `lowres`",
        ),
        ({"sampler": {"kind": "ddim", "steps": 3, "threshold": {}}}, "latents have none; leave it out"),
        ({"size_px": [64, 66]}, "width 66 is not a multiple of 4; use 64 or 68"),
        ({"joining": {"kind": "average", "stride_px": 18}}, "stride_px 18 is not a multiple of 4; use 16 or 20"),
        ({"tile_px": 36}, "tile_px 36 is not a multiple of 8"),
        ({"constraint": {"kind": "context"}}, "does not see the context"),
    ],
)
def test_what_a_latent_level_cannot_is_refused_with_the_reason(tmp_path, change, message):
    """For a model that is taken from another run; the recipe's own models are asked by the same function."""
    values = level().model_dump(mode="json") | {"size_px": [64, 64], **change}
    with pytest.raises(BadInput, match=message):
        check_fits(tmp_path, facts_of(sections("mpp")[1]), Level.model_validate(values), "m", 2.0)


def test_a_latent_level_that_fits(tmp_path):
    values = level("average").model_dump(mode="json") | {"size_px": [80, 104]}
    check_fits(tmp_path, facts_of(sections("mpp")[1]), Level.model_validate(values), "m", None)


@pytest.mark.parametrize(
    ("k", "change", "message"),
    [
        (
            0,
            {"size_px": [32, 46]},
            r"levels\[0\]: model 'coarse' draws in the latent space of 'vq', 4 px to a latent: width 46",
        ),
        (
            1,
            {"constraint": {"kind": "null-space"}},
            "`null-space` holds means nothing: use `lowres`, `context` or `none`",
        ),
        (1, {"joining": {"kind": "independent"}, "skip_background": {}}, r"levels\[1\]: .*`skip_background` cannot"),
        (2, {"model": "vq"}, "model 'vq' has the objective 'autoencoder'"),
    ],
)
def test_a_recipe_names_the_level(root, k, change, message):
    values = yaml.safe_load((root / "config/test/latent.yaml").read_text())
    values["synthetic"]["levels"] = values["synthetic"]["levels"][: k + 1]
    values["synthetic"]["levels"][k] |= change
    with pytest.raises(RecipeError, match=message):
        parse_recipe(values)


def test_a_latent_model_learns_from_whole_patches(root):
    values = yaml.safe_load((root / "config/test/latent.yaml").read_text())
    values["models"]["finer"]["training"] = values["models"]["finer"]["training"] | {"crop_px": 8}
    with pytest.raises(RecipeError, match="draws in a latent space sees whole patches"):
        parse_recipe(values)


def test_its_evaluations_are_counted_as_they_are_drawn(tmp_path, root):
    recipe = load_recipe(root / "config/test/latent.yaml")
    first = recipe.synthetic.levels[0]
    d, asked = drawing(latent_model(), first.model_copy(update={"batch": 1}), recipe.synthetic.size_px(0)), []
    d = replace(d, k=0, seed=recipe.seed, slide="synthetic_001")
    d.bundles[0].denoise = lambda x, *options: asked.append(x.shape[-1]) or 0 * x
    d.run(tmp_path)
    found = list(cost.tiles_of(recipe, 0, "synthetic_001", np.ones((8, 8), bool)))
    assert found == [(first.tile_px, 1)] * len(asked)
    assert recipe.latent_px(first.model) * asked[0] == first.tile_px and recipe.latent_px("pixels") == 1
