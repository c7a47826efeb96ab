"""The keys of networks/jit.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import NetworkKeys, key, splits


@dataclass(frozen=True)
class JiT(NetworkKeys):
    """The pixel transformer of Li and He 2025 ("just image transformer"); the defaults are their JiT-B/16.

    It is made to predict the clean picture: `objective: {kind: flow}`.
    """

    kind: Literal["jit"] = "jit"
    token_px: int = key(16, "side of the square of pixels that is one token; pictures have a multiple of it", gt=0)
    channels: int = key(768, "of every token", gt=0)
    blocks: int = key(12, "transformer blocks, one after the other", gt=0)
    heads: int = key(12, base.HEADS, gt=0)
    bottleneck: int = key(128, "channels between a token's pixels and the token", gt=0)
    hidden: float = key(4.0, "channels of the feed-forward, as a multiple of the token's; SwiGLU has 2/3 of them", gt=0)
    dropout: float = key(0.0, f"{base.DROPOUT}, in the middle half of the blocks", ge=0, lt=1)

    @property
    def multiple_px(self) -> int:
        return self.token_px

    @property
    def head_channels(self) -> int:
        return self.channels // self.heads

    def check(self, size_px: int) -> None:
        """Raises ValueError where the heads do not divide the channels, or the two directions and their pairs not a head."""
        splits(self.channels, self.heads)
        if self.head_channels % 4:
            raise ValueError(
                f"has heads of {self.head_channels} channels, which two directions do not share in pairs: `channels` must be a"
                " multiple of 4 times `heads`"
            )
