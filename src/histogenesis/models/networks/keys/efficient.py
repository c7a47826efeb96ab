"""The keys of networks/efficient.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import NetworkKeys, key, splits


@dataclass(frozen=True)
class EfficientUNet(NetworkKeys):
    """The efficient U-Net of Imagen (Saharia et al. 2022); one entry a level, from the finest on."""

    kind: Literal["efficient"] = "efficient"
    channels: int = key(128, base.CHANNELS, gt=0)
    multipliers: list[float] = key([1, 2, 4, 8], base.MULTIPLIERS, min_length=1)
    blocks: list[int] = key([2, 2, 2, 2], "residual blocks of each level")
    attention: list[bool] = key([False, False, False, True], "whether a level has self-attention")
    heads: int = key(8, base.HEADS, gt=0)
    dropout: float = key(0.0, base.DROPOUT, ge=0, lt=1)
    halve_first: bool = key(False, "the first level halves the picture too: for 256 and 1024 px")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({len(self.multipliers), len(self.blocks), len(self.attention)}) > 1:
            raise ValueError(
                "`multipliers`, `blocks` and `attention` have one entry a level each: make them equally long"
            )

    @property
    def halvings(self) -> int:
        return len(self.multipliers) - 1 + self.halve_first

    @property
    def attends(self) -> bool:
        return any(self.attention)

    def check(self, size_px: int) -> None:
        for width, attends in zip(self.widths, self.attention):
            if attends:
                splits(width, self.heads)
