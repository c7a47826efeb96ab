"""How much of a picture an autoencoder keeps."""

from __future__ import annotations

import numpy as np
import torch

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.intervals import FEWEST_GROUPS, t_interval
from histogenesis.metrics.distances.ssim import ssim
from histogenesis.models.discriminator import PerceptualDistance


@torch.inference_mode()
def reconstruct(model, images: np.ndarray, batch: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, p, p, 3) after encoding and decoding, and the codes of every picture (n, p / 4, p / 4)."""
    device = next(model.parameters()).device
    reconstructions, codes = [], []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + batch].transpose(0, 3, 1, 2))).to(device)
        x = model.normalisation.encode(pixels)
        codes.append(model.network.quantise(model.network.encode(x))[1].cpu().numpy())
        reconstructions.append(model.to_uint8(model(x)).permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(reconstructions), np.concatenate(codes)


@torch.inference_mode()
def perceptual_distance(model, images: np.ndarray, reconstructions: np.ndarray, batch: int = 16) -> np.ndarray | None:
    """Of each picture to its reconstruction, by the file that the model learnt with (VGG's: LPIPS); None without one."""
    if not model.section.perceptual:
        return None
    device = next(model.parameters()).device
    distance = PerceptualDistance(model.section.perceptual, str(device))

    def pixels(some):
        return torch.from_numpy(np.ascontiguousarray(some.transpose(0, 3, 1, 2))).to(device).float() / 127.5 - 1

    parts = [
        distance(pixels(images[i : i + batch]), pixels(reconstructions[i : i + batch]))
        for i in range(0, len(images), batch)
    ]
    return torch.cat(parts).double().cpu().numpy()


def measure(
    images: np.ndarray,
    reconstructions: np.ndarray,
    codes: np.ndarray,
    known: int,
    patients: np.ndarray,
    perceptual: np.ndarray | None = None,
) -> dict:
    """PSNR (dB), SSIM, mean absolute error (grey steps of 255) and, where given, the perceptual distance, each with Student's
    95 % interval; codes in use of all.

    Intervals are over patients' means where there are 6 or more patients, otherwise over patches. Raises BadInput for fewer
    than two patches.
    """
    if len(images) < 2:
        raise BadInput("a reconstruction is measured on two held-out patches or more: hold out more")
    difference = images.astype(np.float64) - reconstructions
    error = np.maximum((difference**2).mean(axis=(1, 2, 3)), 1e-2)  # equal but for less than rounding: 68 dB
    each = {
        "psnr": 10 * np.log10(255**2 / error),
        "ssim": np.array([ssim(a, b) for a, b in zip(images, reconstructions)]),
        "l1": np.abs(difference).mean(axis=(1, 2, 3)),
    }
    if perceptual is not None:
        each["perceptual"] = perceptual
    names, which = np.unique(patients, return_inverse=True)
    over = "patients" if len(names) >= FEWEST_GROUPS else "patches"
    found: dict = {"patches": len(images), "interval": f"Student's, over {over}"}
    for name, values in each.items():
        units = [values[which == k].mean() for k in range(len(names))] if over == "patients" else values
        found[name] = dict(zip(("value", "low", "high"), t_interval(units)))
    return found | {"codes_used": len(np.unique(codes)), "codes": known}
