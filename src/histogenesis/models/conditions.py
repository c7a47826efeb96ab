"""Conditioning pictures, beside the noisy one: the same view at a lower resolution, and a wider view.

Both are resized to the noisy picture's size and concatenated as three channels each (Ho et al. 2022, Cascaded diffusion
models; Saharia et al. 2022, section 2.4). The low-resolution one is noised, and the network is told how much.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

PICTURES = ("lowres", "context")  # in the order in which they are concatenated
LOWRES_NOISE_STEPS = 1000  # the low-resolution picture's augmentation noise is embedded as a step of so many


def pictures_of(conditions: Sequence[str]) -> list[str]:
    """The conditions that are pictures, in the order of their channels."""
    return [name for name in PICTURES if name in conditions]


def enlarge(small_bchw: Tensor, size_px: int | tuple[int, int]) -> Tensor:
    """A low-resolution picture at the size of the noisy one: bilinear."""
    size = (size_px, size_px) if isinstance(size_px, int) else size_px
    return interpolate(small_bchw, size=size, mode="bilinear", align_corners=False)


def low_resolution(image_bchw: Tensor, factor: int) -> Tensor:
    """What is left of a picture at a resolution `factor` times as low: area average, then enlarged again."""
    height, width = image_bchw.shape[-2:]
    return enlarge(avg_pool2d(image_bchw, factor), (height, width))


def add_noise(image_bchw: Tensor, noise_level_b: Tensor, noise_bchw: Tensor) -> Tensor:
    """Noise conditioning augmentation: noise of that level (0 to 1) on a low-resolution picture (Ho et al. 2022, section 4.2).

    The level is the time of the continuous linear schedule, alpha_bar = exp(-1e-4 - 10 t^2) (Chen et al. 2021, WaveGrad's
    schedule as Imagen's code has it); 0.2 leaves two thirds of the variance to the picture.
    """
    signal = alpha_bar(noise_level_b)[:, None, None, None]
    return signal.sqrt() * image_bchw + (1 - signal).sqrt() * noise_bchw


def alpha_bar(noise_level_b: Tensor) -> Tensor:
    """The share of the variance that noise of this level leaves to a picture."""
    return torch.exp(-1e-4 - 10 * noise_level_b**2)


def noise_level_of(alpha_bar_b: Tensor) -> Tensor:
    """The level that leaves this share; 0 for more than any does."""
    return ((-torch.log(alpha_bar_b) - 1e-4) / 10).clamp(min=0).sqrt()


def log_snr_of(noise_level_b: Tensor) -> Tensor:
    """ln(alpha_bar / (1 - alpha_bar)) at a level of that noise."""
    return -torch.log(torch.expm1(1e-4 + 10 * noise_level_b**2))
