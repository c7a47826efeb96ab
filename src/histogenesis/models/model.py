"""A model: network + objective + conditions + weights, and its two files (model.safetensors, model.json)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, huber_loss

from histogenesis.core.errors import BadInput
from histogenesis.models.conditions import STEPS_TOLD, pictures_of
from histogenesis.models.networks.classic_unet import ClassicUNet
from histogenesis.models.networks.ddpmpp import DDPMpp
from histogenesis.models.networks.edsr import EDSR
from histogenesis.models.networks.efficient import EfficientUNet
from histogenesis.models.networks.guided_unet import GuidedUNet
from histogenesis.models.objectives import SuperResolution, make_objective
from histogenesis.recipe import Level, UpscaledLevel
from histogenesis.recipe import Model as ModelSection
from histogenesis.recipe.fitting import check_network, learns

if TYPE_CHECKING:
    from histogenesis.models.batches import Batch


class Normalisation:
    """uint8 RGB <-> the units in which a model works: zero mean, and sigma_data as standard deviation.

    Harb et al. set sigma_data = 0.5 "through the normalization of training images". It is affine and the same for every
    pixel, so that average pooling means the same before and after it.
    """

    def __init__(self, mean: list[float], std: float, sigma_data: float):
        self.mean, self.std, self.sigma_data = mean, std, sigma_data

    @classmethod
    def measure(cls, images_nhwc: np.ndarray, sigma_data: float) -> Normalisation:
        """Channel means and the common standard deviation of uint8 images (N, H, W, 3)."""
        pixels = images_nhwc.reshape(-1, 3).astype(np.float64)
        mean = pixels.mean(axis=0)
        std = float(np.sqrt(((pixels - mean) ** 2).mean()))
        if std < 1e-3:
            raise BadInput("the training patches are all of one colour: there is nothing to learn; check the patch set")
        return cls([round(float(m), 4) for m in mean], round(std, 4), sigma_data)

    @classmethod
    def unit(cls) -> Normalisation:
        """0..255 <-> [-1, 1], whatever the images are."""
        return cls([127.5, 127.5, 127.5], 127.5, 1.0)

    def encode(self, rgb: Tensor) -> Tensor:
        """uint8 or float 0..255, (..., 3, H, W) -> float32 model units."""
        return (rgb.float() - self._mean(rgb)) * (self.sigma_data / self.std)

    def decode(self, x: Tensor) -> Tensor:
        """Model units (..., 3, H, W) -> float 0..255, not clipped."""
        return x.float() * (self.std / self.sigma_data) + self._mean(x)

    def to_uint8(self, x: Tensor) -> Tensor:
        return self.decode(x).round().clamp(0, 255).to(torch.uint8)

    def _mean(self, like: Tensor) -> Tensor:
        return torch.tensor(self.mean, dtype=torch.float32, device=like.device)[:, None, None]


class Denoiser(nn.Module):
    """D(x; sigma, s): the network within its objective's scalings (Harb et al. 2024, eq. 6 and supplement eq. 22)."""

    def __init__(
        self, section: ModelSection, patch_px: int, normalisation: Normalisation, classes: Sequence[str] = (), **more
    ):
        super().__init__()
        self.classes = list(classes) if "label" in section.conditions else []
        self.network = build_network(section, patch_px, len(self.classes), **more)
        self.conditions = section.conditions
        self.objective = make_objective(section.objective)
        self.normalisation = normalisation
        self.precision = "fp32"
        self.channels, self.factor = 3, 1  # of what it draws, and px of a picture to each of its own

    def to_latent(self, pictures_bchw: Tensor) -> Tensor:
        """Pictures (3 channels each) as it draws and sees them: as they are."""
        return pictures_bchw

    def to_uint8(self, x: Tensor) -> Tensor:
        """What it has drawn as a picture: uint8 (B, 3, H, W)."""
        return self.normalisation.to_uint8(x)

    def kept(self) -> dict[str, Tensor]:
        """Weights that are saved with those that were learnt."""
        return {}

    def forward(
        self,
        x_bchw: Tensor,
        sigma_b: Tensor,
        mpp_b: Tensor,
        dropout_key_b: Tensor | None = None,
        seen_bchw: Tensor | None = None,
        seen_noise_b: Tensor | None = None,
        label_b: Tensor | None = None,
    ) -> Tensor:
        """Estimate the clean images from x = image + sigma * noise; float32, model units.

        `seen_bchw`: the pictures that are a condition, with the channels of x each; `seen_noise_b`: the noise (0 to 1) of
        `lowres`; `label_b`: rows of `classes`, negative for none.
        """
        scalings = self.objective.scalings(sigma_b.float()[:, None, None, None])
        with torch.autocast(x_bchw.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            x = scalings.into * x_bchw
            if seen_bchw is not None:
                x = torch.cat([x, seen_bchw], dim=1)
            told = None if seen_noise_b is None else STEPS_TOLD * seen_noise_b
            f = self.network(x, scalings.noise.flatten(), mpp_b, dropout_key_b, told, label_b)
        return scalings.skip * x_bchw + scalings.out * f.float()

    def sample_loss(self, batch: Batch, dropout: bool) -> Tensor:
        """lambda(sigma) * mean squared error of each sample (Harb et al. 2024, eq. 7), or Huber's loss; shape (B,)."""
        noisy = batch.image + batch.sigma[:, None, None, None] * batch.noise
        key = batch.dropout_key if dropout else None
        denoised = self(noisy, batch.sigma, batch.mpp, key, batch.seen, batch.seen_noise, batch.label)
        weight, error = self.objective.weight(batch.sigma), denoised - batch.image
        if self.objective.loss == "mse":
            return weight * (error**2).mean(dim=(1, 2, 3))
        # Huber's loss bends at 1, so it wants the error of what the network itself predicts: that of D is `out` times as large.
        out = self.objective.scalings(batch.sigma[:, None, None, None]).out
        own = error / out
        return (
            weight * out.flatten() ** 2 * huber_loss(own, torch.zeros_like(own), reduction="none").mean(dim=(1, 2, 3))
        )


def build_network(section: ModelSection, patch_px: int, classes: int = 0, image_channels: int = 3) -> nn.Module:
    """The U-Net that a recipe's section names, with the channels and embeddings that its conditions need."""
    network, conditions = section.network, section.conditions
    told = {
        "resolution": "mpp" in conditions,
        "seen_channels": image_channels * len(pictures_of(conditions)),
        "seen_noise": "lowres" in conditions,
        "classes": classes,
        "image_channels": image_channels,
    }
    options = network.model_dump(exclude={"kind"})
    if network.kind == "efficient":
        return EfficientUNet(**options, **told)
    if network.kind == "classic-unet":
        return ClassicUNet(**options, **told)
    if network.kind == "guided-unet":
        return GuidedUNet(image_px=patch_px, **options, **told)
    return DDPMpp(image_px=patch_px, **options, **told)


class Upscaler(nn.Module):
    """A network that doubles a picture, whatever its mpp."""

    classes: Sequence[str] = ()

    def __init__(self, section: ModelSection, patch_px: int, normalisation: Normalisation, classes: Sequence[str] = ()):
        super().__init__()
        self.network = EDSR(section.network.channels, section.network.blocks)
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
        made = self(avg_pool2d(batch.image, self.objective.factor))
        return (made - batch.image).abs().mean(dim=(1, 2, 3))


MODELS = {"edm": Denoiser, "eps": Denoiser, "v": Denoiser, "x0": Denoiser, "super-resolution": Upscaler}


def build_model(
    section: ModelSection,
    patch_px: int,
    normalisation: Normalisation,
    classes: Sequence[str] = (),
    first_stage: tuple[nn.Module, float] | None = None,
) -> Denoiser | Upscaler:
    """An untrained model, as the recipe's section says. classes: what a model that is told the label may be told;
    first_stage: the trained autoencoder in whose space it draws, and the spread of that."""
    from histogenesis.models.latent import Autoencoder, LatentDenoiser  # which are made of what is here

    if first_stage is not None:
        return LatentDenoiser(section, patch_px, normalisation, classes, *first_stage)
    return (MODELS | {"autoencoder": Autoencoder})[section.objective.kind](section, patch_px, normalisation, classes)


def save_model(
    folder: Path, weights: dict[str, Tensor], section: ModelSection, normalisation: Normalisation, **facts: Any
) -> None:
    """Write model.safetensors and model.json; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().cpu() for k, v in weights.items()}, folder / "model.safetensors.part")
    description = {
        "network": section.network.model_dump(mode="json"),
        "objective": section.objective.model_dump(mode="json"),
        "conditions": section.conditions,
        "normalisation": {"mean": normalisation.mean, "std": normalisation.std},
        "sigma_data": normalisation.sigma_data,
        "training_sigmas": training_sigmas(section),
        "parameters": sum(v.numel() for v in weights.values()),
        "section": section.model_dump(mode="json"),
        **facts,
    }
    (folder / "model.json.part").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    for name in ("model.safetensors", "model.json"):
        os.replace(folder / f"{name}.part", folder / name)


def training_sigmas(section: ModelSection) -> list[float | None]:
    """The least and the largest noise level that a model learns; null for no bound."""
    return list(make_objective(section.objective).trained) if section.denoises else [None, None]


def load_model(folder: Path, device: str = "cpu", precision: str = "fp32") -> Denoiser | Upscaler:
    """Read a model's two files; raises BadInput when they are missing or do not belong together."""
    try:
        description = json.loads((folder / "model.json").read_text())
        weights = load_file(folder / "model.safetensors", device=device)
    except FileNotFoundError as error:
        raise BadInput(f"{folder}: no trained model there ({Path(error.filename or '').name} is missing)") from None
    section = ModelSection.model_validate(description["section"])
    normalisation = Normalisation(**description["normalisation"], sigma_data=description["sigma_data"])
    first_stage, weights = first_stage_of(description, weights)
    model = build_model(section, description["patch_px"], normalisation, description.get("classes", ()), first_stage)
    model = model.to(device)
    try:
        model.network.load_state_dict(weights)
    except RuntimeError:
        raise BadInput(f"{folder}: model.safetensors holds another network than model.json says; train again") from None
    model.precision = precision
    return model.eval().requires_grad_(False)


def first_stage_of(description: dict, weights: dict[str, Tensor]) -> tuple[tuple[nn.Module, float] | None, dict]:
    """The autoencoder that lies in a model's file, with its latents' spread; and the weights of the model itself."""
    from histogenesis.models.latent import PREFIX

    card = description.get("autoencoder")
    if not card:
        return None, weights
    first_stage = build_model(ModelSection.model_validate(card["section"]), card["patch_px"], Normalisation.unit())
    first_stage.network.load_state_dict({k.removeprefix(PREFIX): w for k, w in weights.items() if k.startswith(PREFIX)})
    own = {k: w for k, w in weights.items() if not k.startswith(PREFIX)}
    return (first_stage.eval(), card["latent_spread"]), own


def check_learnt(models: Path, asked: dict[str, list[tuple[int, float]]]) -> None:
    """Raise BadInput where a model of a run has not learnt an mpp at which it is to draw; those not trained yet are left out.

    models: the folder of the run's models. asked: model -> (level, mpp), ... A recipe may ask for patches that no slide could
    give, as where all are smaller than a patch: what a model has seen is in its file.
    """
    for name, levels in asked.items():
        try:
            learnt = json.loads((models / name / "model.json").read_text())["mpps"]
        except FileNotFoundError:
            continue
        unlearnt = [f"{mpp:g} (level {k})" for k, mpp in levels if not learns(mpp, learnt)]
        if unlearnt:
            raise BadInput(
                f"{models / name}: it has learnt mpps {learnt} and never saw {', '.join(unlearnt)}: its slides gave no patches"
                " there. Use smaller patches, `whole_mpps`, wider slides, or leave that level out"
            )


def check_fits(
    folder: Path, facts: dict, level: Level | UpscaledLevel, name: str | None = None, ratio: float | None = None
) -> None:
    """Raise BadInput where a model that another run trained cannot make a level; `facts` is its model.json.

    name: what this recipe calls it (default: the level's model); ratio: of the mpp of the level above to this one's.
    """
    section = ModelSection.model_validate(facts["section"])
    if section.denoises == (level.kind == "upscale"):
        wanted = "'super-resolution'" if level.kind == "upscale" else "'edm', 'eps', 'v' or 'x0'"
        raise BadInput(f"{folder}: its objective is {section.objective.kind!r}, but the level wants {wanted}")
    if level.kind == "upscale":
        return
    if "label" in section.conditions and level.label not in (None, *facts.get("classes", ())):
        raise BadInput(f"{folder}: it has not learnt class {level.label!r}; it knows {facts.get('classes') or 'none'}")
    for n in (n for n, one in enumerate(level.models) if one == (name or level.model)):
        try:
            check_network(level, n, section, facts["mpps"], facts.get("context_ratio"), ratio)
        except ValueError as error:
            raise BadInput(f"{folder}: it {error}") from None
