"""Noise is a function of its key and of the pixel, never of the window."""

import numpy as np

from histogenesis.core.noise import NoiseField, normal


def test_a_window_is_a_view_of_one_plane():
    field = NoiseField(1, "slide", "model", 2)
    plane = field.window(0, 0, 200, 300)
    assert np.array_equal(field.window(37, 90, 100, 110), plane[:, 37:137, 90:200])
    assert np.array_equal(field.window(63, 64, 2, 2), plane[:, 63:65, 64:66])


def test_every_part_of_the_key_counts():
    base = NoiseField(1, "slide", "model", 2).window(0, 0, 8, 8)
    for other in [
        (2, "slide", "model", 2),
        (1, "slidf", "model", 2),
        (1, "slide", "modem", 2),
        (1, "slide", "model", 3),
    ]:
        assert not np.allclose(NoiseField(*other).window(0, 0, 8, 8), base)
    field = NoiseField(1, "slide", "model", 2)
    assert not np.allclose(field.window(0, 0, 8, 8, step=1), base)
    assert not np.allclose(field.window(0, 0, 8, 8, draw=1), base)
    assert not np.array_equal(normal((3,), 1, "a"), normal((3,), "1", "a"))


def test_it_is_white_and_standard_across_block_borders():
    plane = NoiseField(5, "s", "m", 0).window(0, 0, 512, 512).astype(np.float64)
    assert abs(plane.mean()) < 0.005 and abs(plane.std() - 1) < 0.005
    for a, b in [(plane[:, :, :-1], plane[:, :, 1:]), (plane[:, :-1], plane[:, 1:]), (plane[:1], plane[1:2])]:
        assert abs((a * b).mean()) < 0.005
    border = (plane[:, :, 63::64][:, :, :7] * plane[:, :, 64::64]).mean()
    assert abs(border) < 0.03


def test_a_part_of_a_window_costs_only_its_blocks():
    field = NoiseField(1, "slide", "model", 2)
    where = np.zeros((300, 200), bool)
    where[:20] = where[:, 180:] = True
    whole, part = field.window(37, 90, 300, 200, step=3), field.window(37, 90, 300, 200, step=3, where=where)
    assert np.array_equal(part[:, where], whole[:, where])
    assert (part == 0).mean() > 0.3
    assert not field.window(37, 90, 300, 200, where=np.zeros((300, 200), bool)).any()
