"""Equal treatment: what could give the answer away besides the tissue is made the same for real and generated pictures.

glass          each source's own glass is balanced to TINT, and what is within NEAR of it becomes TINT: no sensor noise, no
               shading, no ringing of JPEG in empty glass
compression    a generated picture goes through the codec that the real ones have been through, on a grid of its own phase
border         whole slides end in a frame of TINT
files          one quality, no metadata, padded to one length, one time; names are sampled (folder.py)
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import uniform_filter

from histogenesis.slides.codec import Codec

if TYPE_CHECKING:
    from histogenesis.study.sources import Source

TINT = 243  # grey of all glass
NEAR, FAR = 8.0, 20.0  # of TINT: what is nearer is glass, what is further is tissue, as it is; between them, a mixture
SMOOTH_PX = 5  # of the difference from glass, so that no single pixel decides
GLASS_ABOVE, GLASS_GREY, GLASS_LEAST = (
    215,
    16,
    0.01,
)  # of pictures whose glass nobody measured: bright, grey, and not too rare
GRID_PX = 16  # of JPEG with chroma at half resolution
SAME_SCALE = 1.1  # times a real slide's own mpp: up to here its compression is seen as it was made
COVER = Codec(80, 2)  # where it is not known what real pictures went through, all go through this
FILE_QUALITY = 92


def glass_of(images: np.ndarray) -> np.ndarray | None:
    """The colour of glass in pictures (n, h, w, 3) uint8: the median of bright, nearly grey pixels; None where there are
    few."""
    pixels = images.reshape(-1, 3)
    pixels = pixels[:: max(1, len(pixels) // 2_000_000)].astype(np.int16)
    bright = (pixels.min(axis=1) > GLASS_ABOVE) & (np.ptp(pixels, axis=1) < GLASS_GREY)
    return np.median(pixels[bright], axis=0) if bright.mean() > GLASS_LEAST else None


def on_glass(image: np.ndarray, glass: np.ndarray | None, wanted: np.ndarray | None) -> np.ndarray:
    """uint8 (h, w, 3): as it would be on glass of another colour, which all light has passed. Unknown glass: as it is."""
    if glass is None or wanted is None:
        return image
    out = image.astype(np.float32) * (np.asarray(wanted, np.float32) / np.maximum(np.asarray(glass, np.float32), 1))
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def balanced(image: np.ndarray, glass: np.ndarray | None) -> np.ndarray:
    """uint8 (h, w, 3): its glass at TINT. Without glass, as it is."""
    if glass is None:
        return image
    out = image.astype(np.float32) * (TINT / np.maximum(np.asarray(glass, np.float32), 1))
    away = np.abs(out - TINT).max(axis=-1)
    away = np.minimum(uniform_filter(away, SMOOTH_PX, mode="nearest"), away + NEAR)
    tissue = np.clip((away - NEAR) / (FAR - NEAR), 0, 1)[..., None]
    return np.clip(np.rint(TINT + tissue * (out - TINT)), 0, 255).astype(np.uint8)


def through(image: np.ndarray, codec: Codec) -> np.ndarray:
    """uint8 (h, w, 3) through JPEG and back, its grid at the top left corner."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=codec.quality, subsampling=codec.subsampling)
    return np.asarray(Image.open(file).convert("RGB"))


@dataclass(frozen=True)
class Scanner:
    """What leaves traces on a picture: glass of some colour (None: that of the picture itself), and then a codec."""

    codec: Codec
    glass: tuple[float, ...] | None = None


def scanners_of(real: Sequence[Source], generated: bool, mpp: float) -> list[Scanner]:
    """What pictures at `mpp` are put through, one of these each; none where the list is empty.

    Real slides of one scale have been through their codecs on their glass, and generated ones go through the same. At a coarser
    mpp, or where a real slide does not tell its codec, traces are faint or unknown: then both kinds go through one.
    """
    glass = [tuple(map(float, source.glass)) for source in real]
    known = all(source.codec for source in real)
    if known and all(mpp <= SAME_SCALE * source.finest_mpp for source in real):
        return [Scanner(source.codec, own) for source, own in zip(real, glass)] if generated else []
    codecs = [source.codec for source in real] if known else [COVER] * len(real)
    return [Scanner(codec, own if generated else None) for codec, own in zip(codecs, glass)]


def equal_picture(
    source: Source,
    x_um: float,
    y_um: float,
    size_px: tuple[int, int],
    mpp: float,
    scanner: Scanner | None,
    phase: tuple[int, int],
) -> np.ndarray:
    """What readers see of a source: uint8 (*size_px, 3). phase: px (y, x) from the codec's grid line to the top left corner."""
    top, left = (GRID_PX + p % GRID_PX for p in phase)
    height, width = (-(-(n + before + GRID_PX) // GRID_PX) * GRID_PX for n, before in zip(size_px, (top, left)))
    wide = source.read(x_um - left * mpp, y_um - top * mpp, (height, width), mpp)
    return scanned(wide, source.glass, scanner)[top : top + size_px[0], left : left + size_px[1]]


def scanned(image: np.ndarray, glass: np.ndarray | None, scanner: Scanner | None) -> np.ndarray:
    """uint8 (h, w, 3): through a scanner, its grid at the top left corner, and then with glass at TINT."""
    if scanner is None:
        return balanced(image, glass)
    if scanner.glass is not None and glass is not None:
        image, glass = on_glass(image, glass, np.array(scanner.glass)), np.array(scanner.glass)
    return balanced(through(image, scanner.codec), glass)


def as_file(image: np.ndarray) -> bytes:
    """The picture as a JPEG file: standard tables, no metadata; two pictures of one size have one header."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=FILE_QUALITY, subsampling=0, optimize=False)
    return file.getvalue()


def padded(files: Iterable[bytes]) -> list[bytes]:
    """All of the length of the longest: zeros after the end of the picture, which no decoder reads."""
    files = list(files)
    longest = max(map(len, files), default=0)
    return [file + bytes(longest - len(file)) for file in files]
