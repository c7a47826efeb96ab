"""Resizing as the encoders' authors did it: the choice alone moves FID by several points."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image


def tf1_bilinear(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bilinear resize as TensorFlow 1.x does it (align_corners=False, corner-aligned sampling, no antialiasing).

    images (n, c, h, w) float32 -> (n, c, height, width). The same float32 operations in the same order as the kernel
    (tensorflow/core/kernels/resize_bilinear_op.cc), so bit for bit on the CPU: the resize of the original FID network.
    """
    y0, y1, dy = _taps(images.shape[2], height, images.device)
    x0, x1, dx = _taps(images.shape[3], width, images.device)
    rows0, rows1 = images[:, :, y0], images[:, :, y1]
    top = rows0[..., x0] + (rows0[..., x1] - rows0[..., x0]) * dx
    bottom = rows1[..., x0] + (rows1[..., x1] - rows1[..., x0]) * dx
    return top + (bottom - top) * dy[:, None]


def _taps(size: int, out: int, device):
    scale = np.float32(size) / np.float32(out)
    places = np.arange(out, dtype=np.float32) * scale
    low = places.astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    return tuple(torch.from_numpy(v).to(device) for v in (low, high, places - low.astype(np.float32)))


def pil_float(images: np.ndarray, height: int, width: int, bicubic: bool = True) -> np.ndarray:
    """Antialiased resize in float32, channel by channel, as clean-fid does (Parmar et al. 2022): uint8 (n, h, w, 3) -> float32.

    Values are cut to 0..255 and not rounded.
    """
    how = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    if images.shape[1:3] == (height, width):
        return images.astype(np.float32)
    out = np.empty((len(images), height, width, 3), np.float32)
    for i, image in enumerate(images):
        for c in range(3):
            channel = Image.fromarray(image[..., c].astype(np.float32))
            out[i, ..., c] = np.asarray(channel.resize((width, height), how))
    return out.clip(0, 255)


def pil_uint8(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Antialiased bicubic resize of uint8 (n, h, w, 3), rounded."""
    if images.shape[1:3] == (height, width):
        return images
    return np.stack([np.asarray(Image.fromarray(i).resize((width, height), Image.Resampling.BICUBIC)) for i in images])
