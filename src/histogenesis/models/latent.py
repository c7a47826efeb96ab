"""Diffusion in an autoencoder's latent space (Rombach et al. 2022): the autoencoder as a model, and a denoiser of latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from histogenesis.models.batch import Batch
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.discriminator import Discriminator, PerceptualDistance
from histogenesis.models.networks.vq import FACTOR, VQF4
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.options import ModelOptions

PREFIX = "autoencoder."  # of its weights, in the file of a model that draws in its space


class Autoencoder(nn.Module):
    """Pictures to latents and back."""

    classes: Sequence[str] = ()

    def __init__(self, section: Any, patch_px: int, normalisation: Normalisation, classes: Sequence[str] = ()):
        super().__init__()
        section = ModelOptions.of(section)
        self.network = VQF4(**section.network.without("kind", "weights"))
        self.objective, self.section, self.patch_px = NoNoise(), section.objective, patch_px
        self.perceptual: PerceptualDistance | None = None
        self.discriminator: Discriminator | None = None
        self.normalisation, self.precision = normalisation, "fp32"

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Pictures and what is left of them after encoding and decoding: float32, in [-1, 1]."""
        with torch.autocast(x_bchw.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return self.network.decode(self.network.encode(x_bchw)).float()

    def to_uint8(self, x: Tensor) -> Tensor:
        return self.normalisation.to_uint8(x)

    def begin_training(self, section: ModelOptions, device: str) -> Discriminator | None:
        """Take the weights it starts from, and what it is judged by, which is no part of the model.

        Returns the network that learns in turn with it.
        """
        if section.network.weights:
            self.network.start_from(Path(section.network.weights.path), section.network.weights.sha256)
        if self.section.perceptual:
            self.perceptual = PerceptualDistance(self.section.perceptual, device)
        if self.section.adversarial:
            t = section.training
            self.discriminator = Discriminator(self.section.adversarial, t.lr, t.betas, self.patch_px, device)
        return self.discriminator

    def sample_loss(self, batch: Batch, dropout: bool) -> Tensor:
        """Of each sample; shape (B,)."""
        with torch.autocast(batch.image.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            reconstruction, codebook = self.network.reconstruct(batch.image, self.section.commitment)
        loss = (reconstruction - batch.image).abs().mean(dim=(1, 2, 3))
        if self.perceptual:
            loss = loss + self.section.perceptual.weight * self.perceptual(reconstruction, batch.image)
        if self.discriminator and self.training:
            adversarial = self.discriminator.loss(batch.image, reconstruction, loss.mean(), self.network.last_weight)
            # Its gradient, but not its value, which has no least: a loss that rises without end must stay a sign of divergence.
            loss = loss + (adversarial - adversarial.detach())
        return loss + codebook


class NoNoise:
    """An autoencoder learns from pictures as they are."""

    sigmas = None

    def sample_sigma(self, normal: Tensor) -> Tensor:
        return torch.zeros_like(normal)


class LatentDenoiser(Denoiser):
    """D(z; sigma, ...) in the latent space of a trained autoencoder, which is kept with the weights and does not learn.

    Pictures that are a condition are encoded too, and concatenated (Rombach et al. 2022, section 3.3). The noise on `lowres`
    is part of the picture that is encoded, so that training and drawing make it as for any other model.
    """

    def __init__(
        self,
        section: Any,
        patch_px: int,
        normalisation: Normalisation,
        classes: Sequence[str],
        autoencoder: Autoencoder,
        latent_std: float,
    ):
        channels = autoencoder.network.codebook.embedding_dim
        super().__init__(section, patch_px // FACTOR, normalisation, classes, image_channels=channels)
        self.first_stage = autoencoder.requires_grad_(False)
        self.channels, self.factor = channels, FACTOR
        self.scale = (getattr(ModelOptions.of(section).objective, "sigma_data", None) or 1.0) / latent_std

    @torch.no_grad()
    def to_latent(self, pictures_bchw: Tensor) -> Tensor:
        """Pictures in [-1, 1], concatenated or one alone -> latents of the spread that the objective wants, likewise."""
        encode = self.first_stage.network.encode
        return torch.cat([encode(picture).float() for picture in pictures_bchw.split(3, dim=1)], dim=1) * self.scale

    @torch.no_grad()
    def to_uint8(self, x: Tensor) -> Tensor:
        return self.normalisation.to_uint8(self.first_stage.network.decode(x / self.scale))

    def sample_loss(self, batch: Batch, dropout: bool) -> Tensor:
        """As for pictures; the noise is the first rows and columns of what the pictures would get."""
        z = self.to_latent(batch.image)
        noise = batch.noise[:, : z.shape[1], : z.shape[2], : z.shape[3]]
        cond_image = None if batch.cond_image is None else self.to_latent(batch.cond_image)
        return super().sample_loss(batch._replace(image=z, noise=noise, cond_image=cond_image), dropout)

    def frozen_weights(self) -> dict[str, Tensor]:
        """Weights that are saved with those that were learnt."""
        return {PREFIX + name: w for name, w in self.first_stage.network.state_dict().items()}
