"""The keys of networks/edsr.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from histogenesis.models.networks.keys.base import NetworkKeys, key


@dataclass(frozen=True)
class EDSR(NetworkKeys):
    """The residual network of Lim et al. 2017, which doubles a picture (their baseline: 64 channels, 16 blocks)."""

    kind: Literal["edsr"] = "edsr"
    channels: int = key(64, "of every layer", gt=0)
    blocks: int = key(16, "residual blocks", gt=0)
    objective: ClassVar[str] = "super-resolution"
    denoises: ClassVar[bool] = False

    @property
    def halvings(self) -> int:
        return 1

    @property
    def attends(self) -> bool:
        return False
