"""Pictures that no slide reader opens piece by piece (strips, planes, PNG, JPEG, JPEG 2000, ...) are made a pyramid, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from histogenesis.core.errors import BadInput
from histogenesis.recipe import SlideFile
from histogenesis.slides.plausible import NO_MPP, find_mpp
from histogenesis.slides.pyramid import write_pyramid
from histogenesis.slides.tiles import TIFF_MAGIC, TileError, ome_mpp, opened, resolution_mpp, tag_name

WHOLE_PX = 3 * 10**8  # pixels of a picture that must be held at once
OPTIONS = SlideFile(tile_px=256, quality=90, subsampling="4:4:4")
PICTURES = {  # first bytes -> what it is
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"RIFF": "WebP",
}


def import_slide(path: Path, out: Path, mpp: float | None) -> str:
    """Write `out`, a pyramidal TIFF with the pixels of `path` (JPEG at quality 90, no colour subsampled); says what it was.

    mpp: what the slide table gives; TIFFs may say their own. Raises BadInput for what cannot be imported, with the reason.
    """
    with open(path, "rb") as file:
        head = file.read(16)
    if head[:4] in TIFF_MAGIC:
        return _import_tiff(path, out, mpp)
    kind = next((name for magic, name in PICTURES.items() if head.startswith(magic)), None)
    if kind is None:
        raise BadInput(f"{path}: is no picture that can be imported")
    if mpp is None:
        raise BadInput(f"{path}: is a {kind} picture, which does not say its mpp: {NO_MPP}")
    try:
        pixels = imagecodecs.imread(path)
    except Exception as error:  # each codec has errors of its own
        raise BadInput(
            f"{path}: is a {kind} picture that cannot be decoded ({error}): cut off or damaged; copy it again"
        ) from None
    _write(path, out, pixels.shape[:2], find_mpp(path, None, mpp, None, pixels.shape[1::-1])[0], _rows_of(path, pixels))
    return kind


def _import_tiff(path: Path, out: Path, mpp: float | None) -> str:
    try:
        tiff = opened(path)
    except TileError as error:
        raise BadInput(f"{path}: {error}: cut off or damaged; copy it again") from None
    with tiff:
        page = tiff.pages.first
        size = page.imagelength, page.imagewidth
        found, _ = find_mpp(path, ome_mpp(tiff) or resolution_mpp(page), mpp, None, size[::-1])
        strips = not page.is_tiled and page.planarconfig == tifffile.PLANARCONFIG.CONTIG and page.dtype == np.uint8
        colours, planes = tag_name(page.photometric), tag_name(page.planarconfig).lower()
        if page.planarconfig not in (tifffile.PLANARCONFIG.CONTIG, tifffile.PLANARCONFIG.SEPARATE):
            raise BadInput(f"{path}: is a TIFF whose planes are of a kind that is not known ({planes}): export it anew")
        if strips and page.samplesperpixel in (1, 3, 4) and colours in ("RGB", "YCBCR", "MINISBLACK"):
            _write(path, out, size, found, _Strips(path, page).rows)
            return f"TIFF in strips ({tag_name(page.compression)})"
        if size[0] * size[1] > WHOLE_PX:
            raise BadInput(
                f"{path}: is a TIFF of {colours} in {planes} planes, too large to import:"
                " export a pyramidal TIFF with JPEG tiles"
            )
        try:
            pixels = tiff.series[0].levels[0].asarray() if len(tiff.pages) > 1 else page.asarray()
        except Exception as error:
            raise BadInput(f"{path}: is a TIFF that cannot be decoded ({error}): copy it again") from None
        if pixels.ndim == 3 and pixels.shape[0] in (3, 4) and pixels.shape[-1] not in (3, 4):
            pixels = np.moveaxis(pixels, 0, -1)
        _write(path, out, size, found, _rows_of(path, pixels))
        return f"TIFF ({colours}, {page.dtype}, {planes})"


def _rows_of(path: Path, pixels: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """Rows of a picture that is held whole, as 8 bits and three colours."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or pixels.dtype not in (np.uint8, np.uint16):
        raise BadInput(f"{path}: its pixels ({pixels.shape}, {pixels.dtype}) are no colours: export it as 8-bit RGB")
    bits = 8 if pixels.dtype == np.uint8 else max(8, int(pixels.max()).bit_length())

    def rows(y0: int, y1: int) -> np.ndarray:
        part = pixels[y0:y1, :, :3] >> (bits - 8)
        return np.ascontiguousarray(np.broadcast_to(part, (*part.shape[:2], 3)).astype(np.uint8))

    return rows


class _Strips:
    """Rows of a TIFF page whose strips are decoded one after another."""

    def __init__(self, path: Path, page: tifffile.TiffPage):
        self.path, self.page = path, page
        self.next, self.held, self.top = 0, np.zeros((0, page.imagewidth, 3), np.uint8), 0

    def rows(self, y0: int, y1: int) -> np.ndarray:
        parts = [self.held[y0 - self.top :]]
        have = self.top + len(self.held)
        while have < y1:
            parts.append(self._strip())
            have += len(parts[-1])
        self.held, self.top = np.concatenate(parts), y0
        return self.held[: y1 - y0]

    def _strip(self) -> np.ndarray:
        page, number = self.page, self.next
        self.next += 1
        data = os.pread(page.parent.filehandle.fileno(), page.databytecounts[number], page.dataoffsets[number])
        try:
            pixels = page.decode(data, number, jpegtables=page.jpegtables)[0]
        except Exception as error:
            raise BadInput(f"{self.path}: strip {number} cannot be decoded ({error}): copy the file again") from None
        pixels = pixels.reshape(pixels.shape[-3:])[..., :3]
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels


def _write(path: Path, out: Path, size: tuple[int, int], mpp: float, rows: Callable) -> None:
    write_pyramid(rows, size, mpp, out, OPTIONS, {"imported": True, "mpp": mpp})
