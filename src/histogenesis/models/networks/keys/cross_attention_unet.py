"""The keys of networks/cross_attention_unet.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import NetworkKeys, key, splits, there


@dataclass(frozen=True)
class CrossAttentionUNet(NetworkKeys):
    """The U-Net of latent diffusion (Rombach et al. 2022): spatial transformers, which attend to class and mpp as well.

    diffusers.UNet2DConditionModel, without dropout.
    """

    kind: Literal["cross-attention-unet"] = "cross-attention-unet"
    channels: int = key(192, base.CHANNELS, gt=0)
    multipliers: list[int] = key([1, 2, 3, 4], base.MULTIPLIERS, min_length=1)
    blocks: int = key(2, base.BLOCKS, gt=0)
    attention_levels: list[int] = key([1, 2, 3], "levels that have transformers, 0 the finest; the middle has one too")
    heads: int = key(1, "of every attention", gt=0)
    context_channels: int = key(512, "of what is attended to: each condition is one token of so many channels", gt=0)

    def check(self, size_px: int) -> None:
        there(self.attention_levels, range(len(self.multipliers)))
        for level in self.attention_levels:
            splits(self.widths[level], self.heads)
        splits(self.widths[-1], self.heads, "the middle's ")
