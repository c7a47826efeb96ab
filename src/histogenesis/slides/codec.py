"""How a slide's pixels were compressed: JPEG's quality and chroma subsampling, from the quantisation tables of its tiles."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

# Annex K of ITU-T T.81, table K.1 (luminance), row by row: what quality scales in libjpeg.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
SUBSAMPLINGS = {(1, 1): 0, (2, 1): 1, (2, 2): 2}  # factors of chroma along x and y, and Pillow's number for them
JPEG_IN_TIFF = 7
SOI, EOI = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True)
class Codec:
    """quality as libjpeg counts it (1 to 100); subsampling as Pillow does (0: 4:4:4, 1: 4:2:2, 2: 4:2:0)."""

    quality: int
    subsampling: int

    def __str__(self) -> str:
        return f"JPEG, quality {self.quality}, {('4:4:4', '4:2:2', '4:2:0')[self.subsampling]}"

    def as_dict(self) -> dict:
        return asdict(self)


def quality_of(table) -> int:
    """The libjpeg quality whose luminance table (64 numbers, row by row) is nearest to the one given."""
    table = np.asarray(table, np.float64).reshape(8, 8)
    qualities = np.arange(1, 101)
    percent = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    made = np.clip((LUMINANCE * percent[:, None, None] + 50) // 100, 1, 255)
    return int(qualities[np.abs(np.log(made) - np.log(np.maximum(table, 1))).sum(axis=(1, 2)).argmin()])


def codec_of_jpeg(data: bytes) -> Codec | None:
    """Of one JPEG stream, tables included. None if it is no JPEG, or has a subsampling that Pillow does not write."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if not isinstance(image, JpegImageFile):
                return None
            tables, layers = image.quantization, image.layer
    except (UnidentifiedImageError, OSError, AttributeError, SyntaxError):
        return None
    subsampling = 0
    if len(layers) > 1:
        subsampling = SUBSAMPLINGS.get((layers[0][1] // layers[1][1], layers[0][2] // layers[1][2]))
    if subsampling is None or 0 not in tables:
        return None
    return Codec(quality_of(tables[0]), subsampling)


def codec_of_slide(path: str | Path) -> Codec | None:
    """Of the finest level's first tile. None where a slide is no TIFF, or its tiles are not JPEG (or hidden in another
    container).

    It is the last compression that is found: what was compressed before and stored again keeps traces that no table tells of.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            if page.compression != JPEG_IN_TIFF:
                return None
            offset, size = next((o, n) for o, n in zip(page.dataoffsets, page.databytecounts) if n)
            file.filehandle.seek(offset)
            tile, tables = file.filehandle.read(size), page.jpegtables
    except (tifffile.TiffFileError, StopIteration, ValueError, IndexError):
        return None
    if tables:  # those that all tiles share, in a stream of their own: between its first and last marker
        tile = SOI + tables[len(SOI) : -len(EOI)] + tile[len(SOI) :]
    return codec_of_jpeg(tile)
