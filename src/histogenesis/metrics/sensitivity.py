"""Real patches made bad in known ways, and what an encoder's distances say of them.

Whatever is concluded from an encoder rests on this: it must set structureless noise further from real tissue than other
patients are. Every distortion keeps what it is not about: `phase` keeps colours and spectrum and takes all structure,
`blocks` keeps everything within 16 px, `jpeg` is what scanners do to all of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

Distortion = Callable[[np.ndarray, np.random.Generator], np.ndarray]
FACTOR = 4  # px that `bicubic` and `mosaic` average
BLOCK_PX = 16
DISTINCT = 10  # patches that `collapse` repeats


def _rounded(images) -> np.ndarray:
    return np.rint(images).clip(0, 255).astype(np.uint8)


def blur(images: np.ndarray, rng: np.random.Generator, sigma_px: float = 1.0) -> np.ndarray:
    return _rounded(ndimage.gaussian_filter(images.astype(np.float32), (0, sigma_px, sigma_px, 0), mode="reflect"))


def noise(images: np.ndarray, rng: np.random.Generator, deviation: float = 12.0) -> np.ndarray:
    return _rounded(images + rng.normal(0, deviation, images.shape))


def phase(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The phases of one white noise are added to all channels', so that spectra and colour correlations stay (Galerne et al.
    2011, section 2), and each channel's values are put back in order of rank, so that colours stay too: only structure
    goes."""
    out = np.empty_like(images)
    for k, image in enumerate(images):
        turn = np.angle(np.fft.rfft2(rng.normal(size=image.shape[:2])))
        spectrum = np.fft.rfft2(image.astype(np.float64), axes=(0, 1)) * np.exp(1j * turn)[..., None]
        spectrum[0, 0] = np.abs(spectrum[0, 0])
        mixed = np.fft.irfft2(spectrum, s=image.shape[:2], axes=(0, 1))
        for c in range(image.shape[-1]):
            order = mixed[..., c].ravel().argsort()
            channel = np.empty(order.size, np.uint8)
            channel[order] = np.sort(image[..., c].ravel())
            out[k, ..., c] = channel.reshape(image.shape[:2])
    return out


def speckle(images: np.ndarray, rng: np.random.Generator, sigma_px: float = 0.7) -> np.ndarray:
    """Smoothed white noise with the mean and covariance of each patch's colours: what a model draws that has learnt colours
    alone."""
    field = ndimage.gaussian_filter(rng.normal(size=images.shape), (0, sigma_px, sigma_px, 0), mode="wrap")
    field /= field.std(axis=(1, 2), keepdims=True)
    flat = images.reshape(len(images), -1, images.shape[-1]).astype(np.float64)
    mean = flat.mean(axis=1)
    centred = flat - mean[:, None]
    values, vectors = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred / flat.shape[1])
    root = (vectors * np.sqrt(values.clip(0))[:, None]) @ vectors.transpose(0, 2, 1)
    return _rounded(mean[:, None, None] + np.einsum("nhwc,ncd->nhwd", field, root))


def blocks(images: np.ndarray, rng: np.random.Generator, block_px: int = BLOCK_PX) -> np.ndarray:
    """Blocks of each patch in another order; what does not fill a block stays where it is."""
    out = images.copy()
    rows, columns = images.shape[1] // block_px, images.shape[2] // block_px
    at = [
        (slice(y * block_px, (y + 1) * block_px), slice(x * block_px, (x + 1) * block_px))
        for y in range(rows)
        for x in range(columns)
    ]
    for k, image in enumerate(images):
        for (to_y, to_x), i in zip(at, rng.permutation(len(at))):
            out[k, to_y, to_x] = image[at[i]]
    return out


def _averaged(images, factor):
    h, w = (n // factor for n in images.shape[1:3])
    cut = images[:, : h * factor, : w * factor].astype(np.float32)
    return _rounded(cut.reshape(len(images), h, factor, w, factor, -1).mean(axis=(2, 4)))


def mosaic(images: np.ndarray, rng: np.random.Generator, factor: int = FACTOR) -> np.ndarray:
    """Flat squares of `factor` px."""
    return _to_size(_averaged(images, factor), images.shape[1:3], Image.Resampling.NEAREST)


def bicubic(images: np.ndarray, rng: np.random.Generator, factor: int = FACTOR) -> np.ndarray:
    """Averaged over `factor` px and enlarged again: right on the large scale, empty on the small."""
    return _to_size(_averaged(images, factor), images.shape[1:3], Image.Resampling.BICUBIC)


def _to_size(images, size, how):
    return np.stack([np.asarray(Image.fromarray(i).resize(size[::-1], how)) for i in images])


def colour(images: np.ndarray, rng: np.random.Generator, stronger: tuple = (1.15, 1.0, 0.9)) -> np.ndarray:
    """The optical density of R, G, B multiplied: another stain."""
    density = np.log((images.astype(np.float32) + 1) / 256) * np.array(stronger, np.float32)
    return _rounded(256 * np.exp(density) - 1)


def jpeg(
    images: np.ndarray, rng: np.random.Generator | None = None, quality: int = 30, subsampling: int = 2
) -> np.ndarray:
    """Through JPEG and back, each patch by itself; subsampling as PIL counts it (0: 4:4:4, 2: 4:2:0)."""
    out = np.empty_like(images)
    for k, image in enumerate(images):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality, subsampling=subsampling)
        out[k] = np.asarray(Image.open(stream).convert("RGB"))
    return out


def repeats(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The upper left quarter of each patch, four times."""
    h, w = (n // 2 for n in images.shape[1:3])
    tiled = np.tile(images[:, :h, :w], (1, 3, 3, 1))
    return np.ascontiguousarray(tiled[:, : images.shape[1], : images.shape[2]])


def collapse(images: np.ndarray, rng: np.random.Generator, distinct: int = DISTINCT) -> np.ndarray:
    """A few of the patches over and over, in the eight orientations."""
    few = rng.choice(len(images), min(distinct, len(images)), replace=False)
    rows = few[np.arange(len(images)) % len(few)]
    return np.stack([_turned(images[r], k // len(few)) for k, r in enumerate(rows)])


def _turned(image, k):
    if image.shape[0] != image.shape[1]:
        return image
    image = np.rot90(image, k % 4)
    return image[:, ::-1] if k // 4 % 2 else image


DISTORTIONS: dict[str, Distortion] = {
    "blur": blur,
    "noise": noise,
    "phase": phase,
    "speckle": speckle,
    "blocks": blocks,
    "mosaic": mosaic,
    "bicubic": bicubic,
    "colour": colour,
    "jpeg": jpeg,
    "repeats": repeats,
    "collapse": collapse,
}


def distorted(name: str, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """The images (n, h, w, 3) uint8 after one of DISTORTIONS; a function of images, name and seed."""
    return DISTORTIONS[name](images, np.random.default_rng([seed, sum(name.encode())]))
