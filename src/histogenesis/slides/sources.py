"""Where a slide's pixels come from: OpenSlide for every format, and a direct way for tiled TIFFs, faster and for more of them.

A source has dimensions (of its whole plane), level_dimensions, level_downsamples, bounds (x, y, width, height: the part that
was scanned, which QuPath shows), vendor, mpp (along x and y, or None), objective (its power, or None), bits (that samples use),
facts (of the file: compression, quality of JPEG, bits, ICC profile), read(level, x, y, width, height) in that level's pixels,
entry(level, pixel) and scanned().
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import openslide
from PIL import ImageCms

from histogenesis.slides.tiles import TiledTiff, TileError

SEARCH_PX = 64  # how far before a region a level may be entered, to start on a whole pixel
DIRECT = ("generic-tiff", "aperio")  # vendors whose tiles mean what OpenSlide makes of them
COVER_PX = 2**22  # a coarsest level up to this size is asked where it is transparent


class OpenSlideSource:
    """A slide through OpenSlide. Raises openslide.OpenSlideError."""

    bits = 8

    def __init__(self, path: Path):
        self.path = path
        self._handle = openslide.OpenSlide(path)
        at = self._handle.properties
        self.dimensions = self._handle.dimensions
        self.level_dimensions = list(self._handle.level_dimensions)
        self.level_downsamples = list(self._handle.level_downsamples)
        self.vendor = at.get(openslide.PROPERTY_NAME_VENDOR, "")
        self.mpp = at.get(openslide.PROPERTY_NAME_MPP_X), at.get(openslide.PROPERTY_NAME_MPP_Y)
        self.objective = _number(at.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
        self.bounds = self._bounds()
        profile = getattr(self._handle, "color_profile", None)
        self.facts = {"icc": _profile_name(profile)} if profile else {}

    def close(self) -> None:
        self._handle.close()

    def reopen(self) -> None:
        """OpenSlide answers nothing more once a read has failed."""
        self._handle.close()
        self._handle = openslide.OpenSlide(self.path)

    def _bounds(self) -> tuple[int, int, int, int]:
        names = (f"openslide.bounds-{side}" for side in ("x", "y", "width", "height"))
        try:
            x, y, width, height = (int(float(self._handle.properties[name])) for name in names)
        except (KeyError, ValueError):
            return (0, 0, *self.dimensions)
        inside = x >= 0 and y >= 0 and x + width <= self.dimensions[0] and y + height <= self.dimensions[1]
        return (x, y, width, height) if inside and min(width, height) > 0 else (0, 0, *self.dimensions)

    def entry(self, level: int, pixel: int) -> tuple[int, float]:
        """A pixel at or a little before `pixel` that OpenSlide, which is given whole level 0 pixels, can be sent to exactly."""
        addressed = self.level_downsamples[level]
        candidates = pixel - np.arange(1 if addressed == int(addressed) else SEARCH_PX)
        off = np.abs(np.rint(candidates * addressed) / addressed - candidates)
        best = int(off.argmin())
        return int(candidates[best]), float(off[best])

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """(height, width, 3) uint8; transparent pixels, and all outside, on white."""
        scale = self.level_downsamples[level]
        picture = np.asarray(self._handle.read_region((round(x * scale), round(y * scale)), level, (width, height)))
        alpha = picture[..., 3:]
        if alpha.min() == 255:
            return picture[..., :3]
        opaque = alpha.astype(np.uint16)
        return ((picture[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)

    def scanned(self) -> np.ndarray | None:
        """Where the plane was scanned, bool (h, w) at whatever size; None where all of it was, or it cannot be told cheaply."""
        level = len(self.level_dimensions) - 1
        width, height = self.level_dimensions[level]
        if width * height > COVER_PX:
            return None
        try:
            opaque = np.asarray(self._handle.read_region((0, 0), level, (width, height)))[..., 3] > 0
        except openslide.OpenSlideError:
            self.reopen()
            return None
        return None if opaque.all() else opaque


class TiffSource:
    """A tiled TIFF, read tile by tile. told: what OpenSlide says of the same file, if it takes it. Raises TileError."""

    bounds: tuple[int, int, int, int]

    def __init__(self, path: Path, told: OpenSlideSource | None = None):
        self.path = path
        self._tiff = TiledTiff(path)
        self.dimensions, self.bounds = self._tiff.dimensions, (0, 0, *self._tiff.dimensions)
        self.level_dimensions, self.level_downsamples = self._tiff.level_dimensions, self._tiff.level_downsamples
        self.vendor = told.vendor if told else "tiff"
        self.mpp = self._tiff.mpp or (told.mpp if told else self._tiff.resolution_mpp)
        self.objective = told.objective if told else None
        self.facts = {**(told.facts if told else {}), "compression": self._tiff.compression, "bits": self._tiff.bits}
        self.bits = self._tiff.bits
        self.facts |= {"jpeg_quality": self._tiff.quality} if self._tiff.quality else {}

    def close(self) -> None:
        self._tiff.close()

    def reopen(self) -> None:
        self._tiff.close()
        self._tiff = TiledTiff(self.path)

    def entry(self, level: int, pixel: int) -> tuple[int, float]:
        return pixel, 0.0

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self._tiff.read(level, x, y, width, height)

    def scanned(self) -> np.ndarray | None:
        there = self._tiff.tiles_there()
        return None if there.all() else there


def open_source(path: Path) -> OpenSlideSource | TiffSource:
    """OpenSlide's source, or the direct one where it gives the same and more. Raises openslide.OpenSlideError, or OSError."""
    try:
        told = OpenSlideSource(path)
    except openslide.OpenSlideError as error:
        if isinstance(error, openslide.OpenSlideUnsupportedFormatError) or "Unsupported" in str(error):
            with contextlib.suppress(TileError):
                return TiffSource(path)
        raise
    if told.vendor not in DIRECT:
        return told
    try:
        direct = TiffSource(path, told)
    except TileError as error:
        if told.vendor == "generic-tiff" and "samples of type" in str(error):  # OpenSlide would make something of them
            told.close()
            raise openslide.OpenSlideUnsupportedFormatError(str(error)) from None
        return told
    same = direct.level_dimensions == told.level_dimensions and direct.bits == 8
    more = len(direct.level_dimensions) > len(told.level_dimensions) or direct.bits > 8
    chosen, other = (direct, told) if same or more else (told, direct)
    other.close()
    return chosen


def _number(text: str | None) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _profile_name(profile: ImageCms.ImageCmsProfile) -> str:
    try:
        return ImageCms.getProfileDescription(profile).strip()
    except (ImageCms.PyCMSError, OSError, io.UnsupportedOperation):
        return "unnamed"
