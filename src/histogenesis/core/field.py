"""Gaussian noise over a plane, made where it is used: a function of (key, step, draw, channel, y, x), never of a window.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a pixel's place into four
words of 32 random bits, and the transform of Box and Muller these into four normal numbers, one a channel. It is tensor
operations: the same integers on every device, and the same numbers to the last bits of its logarithm, sine and cosine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
POINTS = 1 << 14  # at once on a CPU, so that all that is worked out of them stays in its cache


def philox4x32(
    counter: Sequence[Tensor], key: tuple[int, int], rounds: int = 10
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
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


def box_muller(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Two standard normal numbers, float32, from two words."""
    radius = u.float().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).clamp_(min=0).sqrt_()
    angle = v.float().mul_(math.pi * 2.0**-31)
    return radius * angle.cos(), radius * angle.sin_()


class NoiseField:
    """Standard normal noise over a plane of pixels; `key` as for core.noise.generator."""

    def __init__(self, *key: int | str, channels: int = 3, device: str | torch.device = "cpu"):
        digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest()
        self.key = int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")
        self.channels, self.device = channels, torch.device(device)

    def window(self, y: int, x: int, height: int, width: int, step: int = 0, draw: int = 0) -> Tensor:
        """Of the window with top left corner (y, x): float32 (channels, height, width)."""
        return self.windows([(y, x)], height, width, step, draw)[0]

    def windows(
        self,
        corners: Sequence[tuple[int, int]],
        height: int,
        width: int,
        step: int = 0,
        draw: int = 0,
        where: Tensor | None = None,
    ) -> Tensor:
        """Of windows of one size, (y, x) being their top left corners: float32 (B, channels, height, width).

        where: bool (B, height, width); elsewhere there are zeros, which cost nothing.
        """
        corner = torch.tensor(list(corners), dtype=torch.int64, device=self.device)
        y = corner[:, 0, None, None] + torch.arange(height, device=self.device)[None, :, None]
        x = corner[:, 1, None, None] + torch.arange(width, device=self.device)[None, None, :]
        if where is not None:
            shape = len(corner), self.channels, height, width
            out = torch.zeros(shape, device=self.device)
            b, i, j = where.to(self.device).nonzero(as_tuple=True)
            out[b, :, i, j] = self._at(corner[b, 0] + i, corner[b, 1] + j, step, draw).T
            return out
        if self.device.type != "cpu":
            return self._at(y, x, step, draw).movedim(0, 1)
        out = torch.empty(self.channels, len(corner), height, width)
        rows = max(1, POINTS // width)
        for n in range(len(corner)):
            for top in range(0, height, rows):
                out[:, n, top : top + rows] = self._at(y[n, top : top + rows], x[n], step, draw)
        return out.movedim(0, 1)

    def _at(self, y: Tensor, x: Tensor, step: int, draw: int) -> Tensor:
        """At places (tensors that broadcast): (channels, *their shape)."""
        assert step <= WORD and draw < 1 << 24
        c3, found = torch.tensor(step, device=self.device), []
        for block in range(-(-self.channels // 4)):
            words = philox4x32((x, y, torch.tensor(block + 256 * draw, device=self.device), c3), self.key)
            found += [*box_muller(*words[:2]), *(box_muller(*words[2:]) if self.channels - 4 * block > 2 else ())]
        return torch.stack(found[: self.channels])
