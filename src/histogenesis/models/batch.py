"""A share of a training step's global batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """In model units, float32: image + sigma * noise is what the network sees. (B, C, H, W); the rest (B,)."""

    image: Tensor
    noise: Tensor
    sigma: Tensor
    mpp: Tensor
    dropout_key: Tensor
    cond_image: Tensor | None = None
    lowres_noise: Tensor | None = None
    label: Tensor | None = None

    def to(self, device: str) -> Batch:
        return Batch(*(t if t is None else t.to(device, non_blocking=True) for t in self))
