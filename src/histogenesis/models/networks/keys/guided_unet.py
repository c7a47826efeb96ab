"""The keys of networks/guided_unet.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import Attending, key


@dataclass(frozen=True)
class GuidedUNet(Attending):
    """The U-Net of guided diffusion (Dhariwal and Nichol 2021); diffusers.UNet2DModel, without dropout."""

    kind: Literal["guided-unet"] = "guided-unet"
    channels: int = key(128, base.CHANNELS, gt=0)
    multipliers: list[int] = key([1, 1, 2, 3, 4], base.MULTIPLIERS, min_length=1)
    blocks: int = key(2, base.BLOCKS, gt=0)
    attention_px: list[int] | None = key(None, base.ATTENTION_PX)
    attention_levels: list[int] | None = key(None, base.ATTENTION_LEVELS)
    head_channels: int = key(64, "channels of each attention head; divides `channels`", gt=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels % self.head_channels:
            raise ValueError(f"head_channels {self.head_channels} does not divide channels {self.channels}")
