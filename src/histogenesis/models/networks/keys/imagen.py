"""The keys of networks/imagen.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import NetworkKeys, key


@dataclass(frozen=True)
class ImagenUNet(NetworkKeys):
    """The U-Net of imagen-pytorch, which URCDM's published code takes; one entry a level, from the finest on.

    Tell it the noise as log-SNR (`objective: noise_cond: log-snr`), as there: it learns the frequencies that it hears it by.
    """

    kind: Literal["imagen"] = "imagen"
    channels: int = key(128, base.CHANNELS, gt=0)
    multipliers: list[float] = key([1, 2, 4, 8], base.MULTIPLIERS, min_length=1)
    blocks: list[int] = key([2, 2, 2, 2], "residual blocks of each level, besides the one that it begins with")
    attention: list[bool] = key([False, False, False, True], "whether a level has self-attention and a feed-forward")
    cross_attention: list[bool] = key(
        [False, False, True, True],
        "whether a level attends to what it is told: noise of its picture, of the smaller one",
    )
    heads: int = key(8, "of every attention", gt=0)
    head_channels: int = key(64, "channels of each head", gt=0)
    halve_first: bool = key(False, "every level halves before its blocks, the first too: for 256 and 1024 px")
    first_to_last: bool = key(False, "the last block sees the first convolution beside what comes up to it")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({len(self.multipliers), len(self.blocks), len(self.attention), len(self.cross_attention)}) > 1:
            raise ValueError(
                "`multipliers`, `blocks`, `attention` and `cross_attention` have one entry a level each: make them equally"
                " long"
            )

    @property
    def halvings(self) -> int:
        return len(self.multipliers) - 1 + self.halve_first

    @property
    def attends(self) -> bool:
        """Besides the middle, whose attention sees 16 times fewer px a side: its source draws 1,024 px with what learnt 256."""
        return any(self.attention)
