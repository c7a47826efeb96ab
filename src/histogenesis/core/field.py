"""Gaussian noise over a plane, made where it is used: a function of (key, step, resample_index, channel, y, x), never of a
window.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a pixel's place into four
words of 32 random bits, and the transform of Box and Muller these into four normal numbers, one a channel. It is tensor
operations: the same integers on every device, and the same numbers to the last bits of its logarithm, sine and cosine. On a
CPU the integers are NumPy's, which multiplies 64 bits in half the time.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

WORD = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
Words = tuple[Tensor, Tensor, Tensor, Tensor]
POINTS = 1 << 15  # at once on a CPU: so many that calls cost little, and so few that its caches hold what is worked out


def philox4x32(counter: Sequence[Tensor], key: tuple[int | Tensor, int | Tensor], rounds: int = 10) -> Words:
    """Four words for each counter of four words (int64 tensors that broadcast, 0 to 2^32 - 1) under a key of two."""
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)
    k0, k1 = key
    for _ in range(rounds):
        left, right = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # modulo 2^64: both halves are right, whatever the sign
        c0 = (right >> 32).bitwise_xor_(c1).bitwise_xor_(k0).bitwise_and_(WORD)
        c2 = (left >> 32).bitwise_xor_(c3).bitwise_xor_(k1).bitwise_and_(WORD)
        c1, c3 = right, left  # of these only the lower half counts
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1.bitwise_and_(WORD), c2, c3.bitwise_and_(WORD)


@lru_cache(4)
def _room(shape: tuple[int, ...]) -> tuple[np.ndarray, list[Tensor]]:
    """What is worked in on a CPU, kept: memory that is new each time costs as much as the numbers."""
    with torch.inference_mode(False):
        return np.empty((6, *shape), np.uint64), [torch.empty(3, *shape) for _ in range(2)]


def philox_on_cpu(x: np.ndarray, y: np.ndarray, block: int, step: int, key: tuple[int, int]) -> Words:
    """philox4x32 of counters (x, y, block, step): uint64 arrays that broadcast, and two numbers. int64 tensors.

    The first rounds know rows and columns apart, and cost next to nothing; the others work in place, in a room that is kept:
    the next call writes over what this one has returned.
    """
    word, half, (m0, m1) = np.uint64(WORD), np.uint64(32), map(np.uint64, MULTIPLIERS)
    keys = [[np.uint64((k + n * w) & WORD) for k, w in zip(key, WEYL)] for n in range(10)]
    c0, c1, c2, c3 = x, y, *(np.array([n], np.uint64) for n in (block, step))
    for k0, k1 in keys[:3]:
        left, right = c0 * m0, c2 * m1
        c0, c1, c2, c3 = ((right >> half) ^ c1 ^ k0) & word, right, ((left >> half) ^ c3 ^ k1) & word, left
    room, _ = _room(np.broadcast_shapes(x.shape, y.shape))
    for kept, c in zip(room, (c0, c1, c2, c3)):
        np.copyto(kept, c)
    c0, c1, c2, c3, left, right = room
    for k0, k1 in keys[3:]:
        np.multiply(c0, m0, out=left)
        np.multiply(c2, m1, out=right)
        for to, product, other, k in ((c0, right, c1, k0), (c2, left, c3, k1)):
            np.right_shift(product, half, out=to)
            np.bitwise_xor(to, other, out=to)
            np.bitwise_xor(to, k, out=to)
            np.bitwise_and(to, word, out=to)
        c1, right, c3, left = right, c1, left, c3
    for words in (c1, c3):
        np.bitwise_and(words, word, out=words)
    w0, w1, w2, w3 = (torch.from_numpy(c.view(np.int64)) for c in (c0, c1, c2, c3))
    return w0, w1, w2, w3


def box_muller(u: Tensor, v: Tensor, room: Tensor | None = None) -> Iterator[Tensor]:
    """Two standard normal numbers, float32, from two words, worked out when they are asked for. room: float32 (3, *shape) to
    work in; the result lies there."""
    radius, angle, cosine = torch.empty(3, *u.shape, device=u.device) if room is None else room
    radius.copy_(u).add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).clamp_(min=0).sqrt_()
    angle.copy_(v).mul_(math.pi * 2.0**-31)
    yield torch.cos(angle, out=cosine).mul_(radius)
    yield angle.sin_().mul_(radius)


class NoiseField:
    """Standard normal noise over a plane of pixels; `key` as for core.noise.generator."""

    def __init__(self, *key: int | str, channels: int = 3, device: str | torch.device = "cpu"):
        digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
        self.key = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
        self.channels, self.device = channels, torch.device(device)

    def window(self, y: int, x: int, height: int, width: int, step: int = 0, resample_index: int = 0) -> Tensor:
        """Of the window with top left corner (y, x): float32 (channels, height, width)."""
        return self.windows([(y, x)], height, width, step, resample_index)[0]

    def windows(
        self,
        corners: Sequence[tuple[int, int]],
        height: int,
        width: int,
        step: int = 0,
        resample_index: int = 0,
        where: Tensor | None = None,
    ) -> Tensor:
        """Of windows of one size, (y, x) being their top left corners: float32 (B, channels, height, width).

        where: bool (B, height, width), on the field's device; elsewhere there are zeros, which cost nothing on a CPU.
        """
        sides = [(y, y + height, x, x + width) for y, x in corners]
        # made on the device: to send it there would wait for it
        y = torch.stack([torch.arange(top, end, device=self.device) for top, end, _, _ in sides])[:, :, None]
        x = torch.stack([torch.arange(left, end, device=self.device) for _, _, left, end in sides])[:, None, :]
        if self.device.type != "cpu":  # at all places: to find those that are asked for would wait for the device
            noise = torch.stack(self._at(y, x, step, resample_index), dim=1)
            return noise if where is None else noise.masked_fill(~where[:, None], 0)
        if where is not None:
            out = torch.zeros(len(sides), self.channels, height, width)
            of, i, j = where.nonzero(as_tuple=True)
            for some in (slice(first, first + POINTS) for first in range(0, len(of), POINTS)):
                index, down, right = of[some], i[some], j[some]
                found = self._at(y[index, down, 0], x[index, 0, right], step, resample_index)
                out[index, :, down, right] = torch.stack(found).T
            return out
        out = torch.empty(len(sides), self.channels, height, width)
        windows, rows = max(1, POINTS // (height * width)), max(1, min(height, POINTS // width))
        for n in range(0, len(sides), windows):
            for top in range(0, height, rows):
                part, rows_there = slice(n, n + windows), slice(top, top + rows)
                for channel, values in enumerate(self._at(y[part, rows_there], x[part], step, resample_index)):
                    out[part, channel, rows_there] = values
        return out

    def _at(self, y: Tensor, x: Tensor, step: int, resample_index: int) -> list[Tensor]:
        """At places (tensors that broadcast): of each channel, until the next call."""
        assert step <= WORD and resample_index < 1 << 24
        found: list[Tensor] = []
        for block in range(-(-self.channels // 4)):
            other = block + 256 * resample_index
            rooms: Sequence[Tensor | None] = (None, None)
            if self.device.type == "cpu":
                at_x, at_y = (axis.numpy().view(np.uint64) for axis in (x, y))
                words = philox_on_cpu(at_x, at_y, other, step, self.key)
                rooms = _room(words[0].shape)[1] if self.channels <= 4 else rooms
            else:
                numbers = (torch.full((), n, device=self.device) for n in (other, step))
                words = philox4x32((x, y, *numbers), self.key)
            four = chain(box_muller(*words[:2], rooms[0]), box_muller(*words[2:], rooms[1]))
            found += islice(four, self.channels - len(found))
        return found
