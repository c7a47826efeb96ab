"""The keys of networks/classic_unet.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import NetworkKeys, key, splits, there


@dataclass(frozen=True)
class ClassicUNet(NetworkKeys):
    """The U-Net of Ronneberger et al. 2015 with batch normalisation, a time embedding and attention, as in Son 2023."""

    kind: Literal["classic-unet"] = "classic-unet"
    channels: int = key(64, base.CHANNELS, gt=0)
    multipliers: list[int] = key([1, 2, 4, 8, 16], base.MULTIPLIERS, min_length=1)
    attention_channels: list[int] = key([], "feature maps with so many channels have self-attention")
    heads: int = key(4, base.HEADS, gt=0)

    @property
    def attends(self) -> bool:
        return bool(self.attention_channels)

    def check(self, size_px: int) -> None:
        there(self.attention_channels, self.widths)
        for width in self.attention_channels:
            splits(width, self.heads)
