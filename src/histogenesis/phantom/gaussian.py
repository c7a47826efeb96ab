"""A Gaussian field with the spectrum of a real picture: of it the perfect denoiser is known, and so what a drawing ought to be.

Each colour is a stationary field on a torus of px x px, with the power that the picture's own parts have at each frequency.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BANDS = ((2, 4), (4, 8), (8, 16), (16, 32), (32, 64))  # of wavelength, in px


class GaussianField:
    """power: float (3, px, px), |DFT|^2 of the field in model units, whose standard deviation is `sigma_data`."""

    def __init__(self, power: Tensor, mean: list[float], std: float, sigma_data: float = 0.5):
        self.power, self.mean, self.std, self.sigma_data = power, mean, std, sigma_data
        self.px = power.shape[-1]

    @classmethod
    def of_picture(cls, picture_hwc: np.ndarray, px: int, brightest: float = 225) -> GaussianField:
        """From the parts (px x px) of a uint8 picture that are darker than `brightest` on average, each under Hann's window."""
        windows = [
            picture_hwc[y : y + px, x : x + px]
            for y in range(0, picture_hwc.shape[0] - px + 1, px // 2)
            for x in range(0, picture_hwc.shape[1] - px + 1, px // 2)
        ]
        parts = torch.from_numpy(np.stack([p for p in windows if p.mean() < brightest])).double().permute(0, 3, 1, 2)
        mean = parts.mean(dim=(0, 2, 3), keepdim=True)
        taper = torch.hann_window(px, dtype=torch.float64)
        taper = taper[:, None] * taper / (taper.square().mean())
        power = torch.fft.fft2((parts - mean) * taper).abs().square().mean(dim=0)
        std = float((power.sum() / px**4 / 3).sqrt())
        return cls((power / std**2 * 0.25).float(), mean.flatten().tolist(), std)

    def sample(self, seed: int) -> Tensor:
        """One picture in model units, (3, px, px)."""
        white = torch.randn(3, self.px, self.px, generator=torch.Generator().manual_seed(seed))
        return torch.fft.ifft2(torch.fft.fft2(white) * (self.power / self.px**2).sqrt()).real

    def denoise(self, x: Tensor, sigma: Tensor, mpp: Tensor, **cond: Tensor) -> Tensor:
        """E[clean | x], x = clean + sigma n: the filter of Wiener, exact for whole pictures (B, 3, px, px)."""
        noise = (sigma[0] * self.px) ** 2
        return torch.fft.ifft2(torch.fft.fft2(x) * (self.power / (self.power + noise))).real


def in_band(low: float, high: float, px: int) -> Tensor:
    """Frequencies of px x px whose wavelength is at least `low` and less than `high` px: bool (px, px)."""
    f = torch.fft.fftfreq(px)
    radius = (f[:, None].square() + f.square()).sqrt()
    return (radius > 1 / high) & (radius <= 1 / low)


def correlation(a: Tensor, b: Tensor, band: tuple[float, float]) -> float:
    """Of two pictures (3, px, px), of what they hold within a band of wavelength."""
    inside = in_band(*band, a.shape[-1])
    a, b = (torch.fft.fft2(x)[:, inside] for x in (a, b))
    return float((a * b.conj()).real.sum() / (a.abs().square().sum() * b.abs().square().sum()).sqrt())


def difference_power(a: Tensor, y: Tensor, band: tuple[float, float]) -> float:
    """Power of a - y over that of y, of what two pictures (3, px, px) hold within a band of wavelength.

    0: a is y; 1: as much as y itself; 2: a is another picture of the same power.
    """
    inside = in_band(*band, y.shape[-1])
    difference, own = (torch.fft.fft2(x)[:, inside].abs().square().sum() for x in (a - y, y))
    return float(difference / own)


def power_ratio(x: Tensor, field: GaussianField, band: tuple[float, float]) -> float:
    """How much of the field's own power a picture has within a band: 1 is right."""
    inside = in_band(*band, x.shape[-1])
    return float(torch.fft.fft2(x)[:, inside].abs().square().sum() / field.power[:, inside].sum())


class GaussianWindows:
    """Windows of px x px of a field that is no torus: each colour independent, with the covariances of one of `field`.

    So a window's denoiser is exact for a tile of a larger canvas, whose borders are borders of nothing.
    """

    def __init__(self, field: GaussianField, px: int, colour: int = 1):
        alike = torch.fft.ifft2(field.power[colour].double() / field.px**2).real
        self.px, self.covariance = px, alike / alike[0, 0] * field.sigma_data**2
        y, x = torch.meshgrid(torch.arange(px), torch.arange(px), indexing="ij")
        y, x = y.flatten(), x.flatten()
        matrix = self.covariance[(y[:, None] - y) % field.px, (x[:, None] - x) % field.px]
        self.variances, self.directions = torch.linalg.eigh(matrix)
        self.variances = self.variances.clamp(min=1e-9)
        self.filters: dict[float, Tensor] = {}

    def denoise(self, x: Tensor, sigma: Tensor, mpp: Tensor, **cond: Tensor) -> Tensor:
        """E[clean | x] of windows (B, 3, px, px)."""
        level = float(sigma[0])
        if level not in self.filters:
            shrunk = self.variances / (self.variances + level**2)
            self.filters[level] = ((self.directions * shrunk) @ self.directions.T).to(x.dtype)
        return (x.flatten(2) @ self.filters[level]).reshape(x.shape)

    def jump(self) -> float:
        """Mean |difference| of two pixels side by side."""
        return float((4 / torch.pi * (self.covariance[0, 0] - self.covariance[0, 1])) ** 0.5)
