"""Random numbers of a training sample, made on the device that uses them: a function of (the sample's key, purpose, place)."""

from __future__ import annotations

import torch
from torch import Tensor

from histogenesis.core.field import WORD, box_muller, philox4x32

NOISE, LOWRES = 0, 1  # what normal numbers are for
POINTS = 1 << 15  # counters at once on a CPU, so that what is worked out of them stays in its cache


def normals(key_b: Tensor, shape: torch.Size, purpose: int) -> Tensor:
    """Standard normal numbers (B, *shape), float32, on the keys' device. key_b: int64, one a sample; any split of a batch has
    the same."""
    count = -(-shape[0] * shape[1] * shape[2] // 4)
    if key_b.device.type != "cpu":
        return _words(key_b, 0, count, purpose).flatten(1)[:, : shape.numel()].reshape(len(key_b), *shape)
    noise, some = torch.empty(len(key_b), count, 4), max(1, POINTS // count)
    for b in range(0, len(key_b), some):
        for first in range(0, count, POINTS):
            last = min(first + POINTS, count)
            noise[b : b + some, first:last] = _words(key_b[b : b + some], first, last, purpose)
    return noise.flatten(1)[:, : shape.numel()].reshape(len(key_b), *shape)


def _words(key_b: Tensor, first: int, last: int, purpose: int) -> Tensor:
    """Four normal numbers for each of the counters from first to last: (B, last - first, 4)."""
    index = torch.arange(first, last, device=key_b.device)[None]
    other = torch.full((1, 1), purpose, device=key_b.device)
    zero = torch.zeros_like(other)
    key = (key_b & WORD)[:, None], ((key_b >> 32) & WORD)[:, None]
    words = philox4x32((index.expand(len(key_b), -1), other, zero, zero), key)
    return torch.stack([*box_muller(*words[:2]), *box_muller(*words[2:])], dim=-1)
