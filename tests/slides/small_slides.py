"""Small slides, made for these tests."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from histogenesis.slides.table import SlideRow, register

CENTIMETRE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 mpp


def write_tiff(path: Path, levels: list[np.ndarray], mpp: float | None, description: str | None = None) -> Path:
    """A lossless tiled TIFF that OpenSlide opens; `levels` are the pixels of each level."""
    with tifffile.TiffWriter(path) as tiff:
        for k, level in enumerate(levels):
            tags = {"resolution": (10_000 / mpp / 2**k,) * 2, "resolutionunit": "CENTIMETER"} if mpp else {}
            tiff.write(
                level,
                tile=(64, 64),
                photometric="rgb",
                compression="deflate",
                subfiletype=int(k > 0),
                metadata=None,
                description=None if k else description,
                **tags,
            )
    return path


def area_mean(image: np.ndarray, edges: np.ndarray, axis: int) -> np.ndarray:
    """Mean over the intervals between `edges` along an axis, by integrating: float64, exact, and slow."""
    image = np.moveaxis(np.asarray(image, np.float64), axis, 0)
    integral = np.concatenate([np.zeros((1, *image.shape[1:])), np.cumsum(image, 0)])
    whole = np.clip(np.floor(edges).astype(int), 0, len(image) - 1)
    part = (edges - whole).reshape(-1, *[1] * (image.ndim - 1))
    at_edges = integral[whole] * (1 - part) + integral[whole + 1] * part
    width = np.diff(edges).reshape(-1, *[1] * (image.ndim - 1))
    return np.moveaxis(np.diff(at_edges, axis=0) / width, 0, axis)


def halves(picture, n=3):
    return [np.asarray(Image.fromarray(picture).reduce(2**k)) for k in range(n)]


def record_of(path, folder, **columns):
    return register(SlideRow(slide="s", path=str(path), **columns), folder)
