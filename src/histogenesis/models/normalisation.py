"""uint8 pictures <-> the units in which a model works."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from histogenesis.core.errors import BadInput


class Normalisation:
    """uint8 RGB <-> the units in which a model works: zero mean, and sigma_data as standard deviation.

    Harb et al. set sigma_data = 0.5 "through the normalization of training images". It is affine and the same for every
    pixel, so that average pooling means the same before and after it.
    """

    def __init__(self, mean: list[float], std: float, sigma_data: float):
        self.mean, self.std, self.sigma_data = mean, std, sigma_data
        self._means: dict[torch.device, Tensor] = {}

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
        return (rgb.float() - self._mean(rgb.device)) * (self.sigma_data / self.std)

    def decode(self, x: Tensor) -> Tensor:
        """Model units (..., 3, H, W) -> float 0..255, not clipped."""
        return x.float() * (self.std / self.sigma_data) + self._mean(x.device)

    def to_uint8(self, x: Tensor) -> Tensor:
        """The nearest uint8, (..., 3, H, W)."""
        return self._nearest(x).to(torch.uint8)

    def to_picture(self, x: Tensor, out: Tensor) -> None:
        """The same, (3, H, W), into `out`, uint8 (H, W, 3) in memory; channel by channel, by NumPy: a quarter of the work."""
        nearest = self._nearest(x)
        picture = out.numpy()
        for n, channel in enumerate(nearest if nearest.device == out.device else nearest.to(torch.uint8).cpu()):
            np.copyto(picture[..., n], channel.numpy(), casting="unsafe")

    def _nearest(self, x: Tensor) -> Tensor:
        """What becomes it when its fractions are cut off."""
        return torch.add(self._mean(x.device) + 0.5, x.float(), alpha=self.std / self.sigma_data).clamp_(0, 255)

    def _mean(self, device: torch.device) -> Tensor:
        """(3, 1, 1), sent to a device once: each time would wait for it."""
        if device not in self._means:
            with torch.inference_mode(False):
                self._means[device] = torch.tensor(self.mean, dtype=torch.float32, device=device)[:, None, None]
        return self._means[device]
