"""The model of a baseline: it doubles a picture, without noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from histogenesis.models.batch import Batch
from histogenesis.models.networks.edsr import EDSR
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.objectives import SuperResolution
from histogenesis.models.options import ModelOptions


class Upscaler(nn.Module):
    """A network that doubles a picture, whatever its mpp."""

    classes: Sequence[str] = ()

    def __init__(self, section: Any, patch_px: int, normalisation: Normalisation, classes: Sequence[str] = ()):
        super().__init__()
        network = ModelOptions.of(section).network
        self.network = EDSR(network.channels, network.blocks)
        self.objective = SuperResolution()
        self.normalisation = normalisation
        self.precision = "fp32"

    def forward(self, y_bchw: Tensor) -> Tensor:
        """(B, 3, h, w) -> (B, 3, 2h, 2w); float32, model units."""
        with torch.autocast(y_bchw.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return self.network(y_bchw).float()

    def to_uint8(self, x: Tensor) -> Tensor:
        return self.normalisation.to_uint8(x)

    def sample_loss(self, batch: Batch, dropout: bool) -> Tensor:
        """Mean absolute error of each patch made from its own area average (Lim et al. 2017, section 3); shape (B,)."""
        upscaled = self(avg_pool2d(batch.image, self.objective.factor))
        return (upscaled - batch.image).abs().mean(dim=(1, 2, 3))
