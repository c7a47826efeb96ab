"""What a tile sees of the level above: the right place at every ratio, background beyond the border."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from histogenesis.canvas.canvas import Level, write_level
from histogenesis.canvas.conditioning_crop import ConditioningCrop, build_cond
from histogenesis.canvas.tiling import Tile
from histogenesis.core.field import NoiseField
from histogenesis.models.model import Normalisation

RNG = np.random.default_rng(0)


def level(folder, pixels):
    write_level(folder / "above.h5", [(0, pixels)], *pixels.shape[:2], {"mpp": 8.0})
    return Level(folder / "above.h5")


def tile(y, x, size):
    return Tile(y, x, size, (slice(y, y + size), slice(x, x + size)))


def rgb(picture):
    """(3, h, w) -> (h, w, 3)."""
    return picture.permute(1, 2, 0).numpy()


def ramp(height, width):
    """A picture whose pixels say where they are: red is y, green is x."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("ratio", [2.0, 2.5, 6.25])
def test_the_wider_view_has_the_tiles_centre(tmp_path, ratio):
    crop = ConditioningCrop(level(tmp_path, ramp(160, 200)), (ratio, ratio), (255, 255, 255))
    for y, x in [(100, 200), (137, 161), (200, 300)]:
        view = rgb(crop.context(tile(y, x, 32))).astype(float)
        assert view.shape == (32, 32, 3)
        inside = ~np.all(view == 255, axis=-1)
        assert inside.all()
        centre = view[..., :2].mean(axis=(0, 1)) + 0.5  # of the view, in px of the level above
        wanted = np.array([y + 16, x + 16]) / ratio
        assert np.abs(centre - wanted).max() <= 0.5 + 1e-9, "to the nearest pixel"


def test_beyond_the_border_lies_background(tmp_path):
    crop = ConditioningCrop(level(tmp_path, ramp(20, 20)), (4.0, 4.0), (9, 8, 7))
    view = rgb(crop.context(tile(0, 0, 16)))  # its centre is (2, 2) of the level above: from -6 on
    assert np.all(view[:6] == (9, 8, 7)) and np.all(view[:, :6] == (9, 8, 7))
    assert np.array_equal(view[6:, 6:], ramp(10, 10))
    far = rgb(crop.context(tile(64, 64, 16)))
    assert np.array_equal(far[:10, :10], ramp(20, 20)[10:, 10:]) and np.all(far[10:] == (9, 8, 7))


@pytest.mark.parametrize("ratio", [2, 3])
def test_the_same_view_is_the_tiles_own_part(tmp_path, ratio):
    pixels = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    crop = ConditioningCrop(level(tmp_path, pixels), (float(ratio), float(ratio)), (0, 0, 0))
    one = tile(4 * ratio, 6 * ratio, 5 * ratio)
    assert np.array_equal(rgb(crop.lowres(one)), pixels[4:9, 6:11])
    assert np.array_equal(crop.under(one), pixels[4:9, 6:11])


@pytest.mark.parametrize("size", [(40, 60), (50, 75), (125, 190)])
def test_enlarging_a_part_is_a_part_of_enlarging_the_whole(tmp_path, size):
    pixels = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    ratio = (size[0] / 20, size[1] / 30)
    crop = ConditioningCrop(level(tmp_path, pixels), ratio, (0, 0, 0))
    whole = interpolate(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).double(), size=size, mode="bilinear")[
        0
    ]
    whole = whole.numpy().transpose(1, 2, 0)
    for rows, columns in [
        (slice(0, 17), slice(3, 20)),
        (slice(13, size[0]), slice(21, size[1])),
        (slice(5, 6), slice(7, 9)),
    ]:
        assert np.abs(rgb(crop.interpolate(rows, columns)) - whole[rows, columns]).max() <= 0.51


def test_pictures_come_in_the_order_of_their_channels_at_the_networks_size(tmp_path):
    normalisation, noise = Normalisation.unit(), NoiseField(1, "s")
    pixels = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    crop = ConditioningCrop(level(tmp_path, pixels), (2.0, 2.0), (0, 0, 0))
    tiles = [tile(16, 32, 16), tile(40, 8, 16)]
    cond = build_cond(["lowres", "context"], tiles, 16, crop, normalisation, noise, 0.0)
    assert cond["cond_image_bchw"].shape == (2, 6, 16, 16) and cond["lowres_noise_b"].tolist() == [0, 0]
    small = normalisation.encode(crop.lowres(tiles[0])[None])
    lowres = interpolate(small, size=16, mode="bilinear")[0]
    assert torch.allclose(cond["cond_image_bchw"][0, :3], lowres, atol=0.06), "level 0: almost no noise"
    wide = normalisation.encode(crop.context(tiles[1]))
    assert torch.equal(cond["cond_image_bchw"][1, 3:], wide)
    quarter = build_cond(["context"], tiles, 4, crop, normalisation, noise, 0.2)["cond_image_bchw"]
    assert quarter.shape == (2, 3, 4, 4)
    assert torch.allclose(quarter[1], wide.reshape(3, 4, 4, 4, 4).mean(dim=(2, 4)), atol=1e-5)
    noisy = build_cond(["lowres"], tiles, 16, crop, normalisation, noise, 0.5)["cond_image_bchw"]
    again = build_cond(["lowres"], tiles[::-1], 16, crop, normalisation, noise, 0.5)["cond_image_bchw"]
    assert torch.equal(noisy, again.flip(0)), "its noise goes with the place, not with the batch"
    assert not torch.allclose(noisy[0], cond["cond_image_bchw"][0, :3], atol=0.3)
    assert build_cond([], tiles, 16, None, normalisation, noise, 0.2) == {}
