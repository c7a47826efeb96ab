"""A denoiser: a network within its objective's scalings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from histogenesis.models.batch import Batch
from histogenesis.models.conditioning import Conditioned, NetworkInputs
from histogenesis.models.conditions import LOWRES_NOISE_STEPS, pictures_of
from histogenesis.models.networks import network_class
from histogenesis.models.networks.keys import keys_of
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.objectives import make_objective
from histogenesis.models.options import ModelOptions


class Denoiser(nn.Module):
    """D(x; sigma, s): the network within its objective's scalings (Harb et al. 2024, eq. 6 and supplement eq. 22)."""

    run: Callable[..., Tensor] | None

    def __init__(
        self, section: Any, patch_px: int, normalisation: Normalisation, classes: Sequence[str] = (), **more: int
    ):
        super().__init__()
        section = ModelOptions.of(section)
        self.classes = list(classes) if "label" in section.conditions else []
        self.network = build_network(section, patch_px, len(self.classes), **more)
        self.conditions = section.conditions
        self.objective = make_objective(section.objective)
        self.normalisation = normalisation
        self.precision, self.cast = "fp32", False  # bf16: cast in each forward (training), or once (models.speed)
        self.layout, self.run = torch.contiguous_format, None  # run: `estimate` made faster
        self.channels, self.factor = 3, 1  # of what it draws, and px of a picture to each of its own

    def to_latent(self, pictures_bchw: Tensor) -> Tensor:
        """Pictures (3 channels each) as it draws and sees them: as they are."""
        return pictures_bchw

    def to_uint8(self, x: Tensor) -> Tensor:
        """What it has drawn as a picture: uint8 (B, 3, H, W)."""
        return self.normalisation.to_uint8(x)

    def frozen_weights(self) -> dict[str, Tensor]:
        """Weights that are saved with those that were learnt."""
        return {}

    def forward(
        self,
        x_bchw: Tensor,
        sigma_b: Tensor,
        mpp_b: Tensor,
        dropout_key_b: Tensor | None = None,
        cond_image_bchw: Tensor | None = None,
        lowres_noise_b: Tensor | None = None,
        label_b: Tensor | None = None,
    ) -> Tensor:
        """Estimate the clean images from x = image + sigma * noise; float32, model units.

        `cond_image_bchw`: the pictures that are a condition, with the channels of x each; `lowres_noise_b`: the augmentation
        noise (0 to 1) of `lowres`; `label_b`: rows of `classes`, negative for none.
        """
        return (self.run or self.estimate)(
            x_bchw, sigma_b, mpp_b, dropout_key_b, cond_image_bchw, lowres_noise_b, label_b
        )

    def estimate(
        self,
        x_bchw: Tensor,
        sigma_b: Tensor,
        mpp_b: Tensor,
        dropout_key_b: Tensor | None,
        cond_image_bchw: Tensor | None,
        lowres_noise_b: Tensor | None,
        label_b: Tensor | None,
    ) -> Tensor:
        """What `forward` computes, as one graph: nothing in it waits for the device, or depends on the tensors' values."""
        scalings = self.objective.scalings(sigma_b.float()[:, None, None, None])
        x = scalings.into * x_bchw
        if cond_image_bchw is not None:
            x = torch.cat([x, cond_image_bchw], dim=1)
        noise_step_b = None if lowres_noise_b is None else LOWRES_NOISE_STEPS * lowres_noise_b
        half = self.precision == "bf16"
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=half and not self.cast):
            x = (x.bfloat16() if self.cast else x).contiguous(memory_format=self.layout)
            f = self.network(x, scalings.noise.flatten(), mpp_b, dropout_key_b, noise_step_b, label_b)
        return scalings.skip * x_bchw + scalings.out * f.float()

    def sample_loss(self, batch: Batch, dropout: bool) -> Tensor:
        """lambda(sigma) * mean squared error of each sample (Harb et al. 2024, eq. 7), or Huber's loss; shape (B,)."""
        noisy = batch.image + batch.sigma[:, None, None, None] * batch.noise
        key = batch.dropout_key if dropout else None
        denoised = self(noisy, batch.sigma, batch.mpp, key, batch.cond_image, batch.lowres_noise, batch.label)
        weight, error = self.objective.weight(batch.sigma), denoised - batch.image
        if self.objective.loss == "mse":
            return weight * (error**2).mean(dim=(1, 2, 3))
        # Huber's loss bends at 1, so it wants the error of what the network itself predicts: that of D is `out` times as large.
        out = self.objective.scalings(batch.sigma[:, None, None, None]).out
        own = error / out
        return (
            weight * out.flatten() ** 2 * huber_loss(own, torch.zeros_like(own), reduction="none").mean(dim=(1, 2, 3))
        )


def build_network(options: ModelOptions, patch_px: int, classes: int = 0, image_channels: int = 3) -> Conditioned:
    """The network that the options name, with the channels and embeddings that its conditions need."""
    conditions = options.conditions
    inputs = NetworkInputs(
        image_px=patch_px,
        image_channels=image_channels,
        cond_channels=image_channels * len(pictures_of(conditions)),
        resolution="mpp" in conditions,
        lowres_noise="lowres" in conditions,
        classes=classes,
        label_width=(options.label_embeddings or {}).get("width", 0),
    )
    return network_class(options.network.kind)(keys_of(options.network), inputs)
