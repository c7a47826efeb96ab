"""The keys of networks/post_norm_unet.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import NetworkKeys, key, splits, there


@dataclass(frozen=True)
class PostNormUNet(NetworkKeys):
    """The U-Net of Ho et al. 2020 as the published code of Diffusion4Path has it: normalised after what is computed."""

    kind: Literal["post-norm-unet"] = "post-norm-unet"
    channels: int = key(128, base.CHANNELS, gt=0)
    multipliers: list[int] = key(
        [1, 1, 2, 2, 4], "channels of each level, as a multiple of the first's; every level halves", min_length=1
    )
    blocks: int = key(2, base.BLOCKS, gt=0)
    attention_levels: list[int] = key([3], "levels that have self-attention, 0 the finest; the middle has it too")
    heads: int = key(4, base.HEADS, gt=0)

    @property
    def halvings(self) -> int:
        return len(self.multipliers)

    def check(self, size_px: int) -> None:
        there(self.attention_levels, range(len(self.multipliers)))
        for level in self.attention_levels:
            splits(self.widths[level], self.heads)
        splits(self.widths[-1], self.heads, "the middle's ")
