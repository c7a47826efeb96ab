"""The keys of networks/ddpmpp.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import Attending, key, splits


@dataclass(frozen=True)
class Network(Attending):
    """The DDPM++ U-Net (Song et al. 2021, as in Karras et al. 2022)."""

    kind: Literal["ddpmpp"] = "ddpmpp"
    channels: int = key(64, "of the first convolution", gt=0)
    multipliers: list[float] = key([0.5, 1, 1, 2, 2, 4, 4], base.MULTIPLIERS, min_length=1)
    blocks: int = key(2, base.BLOCKS, gt=0)
    attention_px: list[int] | None = key(None, base.ATTENTION_PX)
    attention_levels: list[int] | None = key(None, base.ATTENTION_LEVELS)
    heads: int = key(4, base.HEADS, gt=0)
    dropout: float = key(0.1, base.DROPOUT, ge=0, lt=1)

    def check(self, size_px: int) -> None:
        super().check(size_px)
        for level in self.attention(size_px):
            splits(self.widths[level], self.heads)
        splits(self.widths[-1], self.heads, "the middle's ")
