"""Noise is a function of its key and of the pixel, never of the window."""

import numpy as np
import pytest
import torch
from scipy import stats

from histogenesis.core.field import NoiseField, philox4x32, philox_on_cpu
from histogenesis.core.noise import normal


def test_a_window_is_a_view_of_one_plane():
    field = NoiseField(1, "slide", "model", 2)
    plane = field.window(0, 0, 200, 300)
    assert torch.equal(field.window(37, 90, 100, 110), plane[:, 37:137, 90:200])
    assert torch.equal(field.windows([(63, 64), (0, 290)], 2, 2)[1], plane[:, 0:2, 290:292])


def test_every_part_of_the_key_counts():
    base = NoiseField(1, "slide", "model", 2).window(0, 0, 8, 8)
    for other in [
        (2, "slide", "model", 2),
        (1, "slidf", "model", 2),
        (1, "slide", "modem", 2),
        (1, "slide", "model", 3),
    ]:
        assert not torch.allclose(NoiseField(*other).window(0, 0, 8, 8), base)
    field = NoiseField(1, "slide", "model", 2)
    assert not torch.allclose(field.window(0, 0, 8, 8, step=1), base)
    assert not torch.allclose(field.window(0, 0, 8, 8, resample_index=1), base)
    assert not np.array_equal(normal((3,), 1, "a"), normal((3,), "1", "a"))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, (0xFFFFFFFF,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers(counter, key, words):
    """Of Random123 (kat_vectors, philox4x32 with 10 rounds)."""
    found = philox4x32([torch.tensor([word, word]) for word in counter], key)
    assert [one.tolist() for one in found] == [[word, word] for word in words]
    x, y, block, step = counter
    on_cpu = philox_on_cpu(np.full((1, 5), x, np.uint64), np.full((3, 1), y, np.uint64), block, step, key)
    assert [one.unique().tolist() for one in on_cpu] == [[word] for word in words], "rows and columns apart"


def test_it_is_normal_and_independent():
    """Kolmogorov and Smirnov's test; and no correlation with neighbours, channels, steps, draws, far places, levels, keys."""
    n, base = 400, NoiseField(5, "s", "m", 0, channels=6)
    plane = base.window(0, 0, n, n).numpy().astype(np.float64)
    for channel in plane:
        assert stats.kstest(channel[::3, ::3].ravel(), "norm").pvalue > 1e-4
    assert abs((plane**4).mean() - 3) < 0.03 and np.abs(plane).max() > 4.5
    others = [base.window(0, 0, n, n, step=1), base.window(0, 0, n, n, resample_index=1), base.window(1 << 20, 0, n, n)]
    others += [NoiseField(*key, channels=6).window(0, 0, n, n) for key in [(5, "s", "m", 1), (6, "s", "m", 0)]]
    pairs = [(plane, other.numpy()) for other in others] + [(plane, plane[[1, 2, 3, 4, 5, 0]])]
    pairs += [(plane[:, 1:], plane[:, :-1]), (plane[:, :, 1:], plane[:, :, :-1]), (plane[:, 64:], plane[:, :-64])]
    for a, b in pairs:
        for f in (lambda x: x, np.square):
            x, y = f(a) - f(a).mean(), f(b) - f(b).mean()
            assert abs((x * y).mean() / (x.std() * y.std())) < 5 / np.sqrt(x.size)


def test_a_part_of_a_window_is_that_of_the_whole():
    field = NoiseField(1, "slide", "model", 2)
    where = torch.zeros(2, 40, 60, dtype=torch.bool)
    where[0, :20] = where[1, :, 50:] = True
    corners = [(37, 90), (1000, 5)]
    whole, part = field.windows(corners, 40, 60, step=3), field.windows(corners, 40, 60, step=3, where=where)
    assert torch.equal(part, whole * where[:, None])


def test_it_is_the_same_in_double_precision_to_the_last_bits():
    """The transform's functions round: against the same integers, transformed by NumPy in double precision."""
    field = NoiseField(1, "slide", channels=4)
    y, x = torch.meshgrid(torch.arange(50), torch.arange(60), indexing="ij")
    zero = torch.zeros_like(x)
    w = [word.numpy().astype(np.float64) for word in philox4x32([x, y, zero, zero + 7], field.key)]
    wanted = []
    for u, v in (w[:2], w[2:]):
        radius, angle = np.sqrt(-2 * np.log((u + 0.5) / 2**32)), 2 * np.pi * v / 2**32
        wanted += [radius * np.cos(angle), radius * np.sin(angle)]
    assert np.abs(field.window(0, 0, 50, 60, step=7).numpy() - np.stack(wanted)).max() < 5e-6
