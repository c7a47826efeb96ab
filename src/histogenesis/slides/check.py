"""Is this file a whole, bright-field slide? Cheap checks, before anything is spent on it."""

from __future__ import annotations

import hashlib
import logging
import math
import struct
from pathlib import Path

import numpy as np
import tifffile

from histogenesis.core.errors import BadInput
from histogenesis.slides.read import TIFF_MAGIC, ReadError, Slide

COPY_AGAIN = "it was cut off, perhaps by an interrupted copy: copy it again from where it came from"
BLANK_RANGE = 4  # grey levels; even empty glass, scanned, has more
PICTURE_PX = 2**22  # a coarsest level up to this size is looked at whole


def sha256_of(path: Path) -> str:
    """sha256 of a file of any size, streamed. OSErrors rise."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_tiff_complete(path: Path) -> None:
    """Raises BadInput if a TIFF (SVS, NDPI, SCN, ...) ends before its directories or its tiles do. Other formats pass.

    Compares every tile's offset and length with the file's size, so it finds any cut without decoding anything.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(16)
    if head[:4] not in TIFF_MAGIC:
        return
    end = _first_directory(head)
    if end is None or end < size:
        try:
            end = _end_of_data(path)
        except (tifffile.TiffFileError, struct.error, ValueError, IndexError, KeyError, TypeError):
            raise BadInput(f"{path}: its TIFF directories cannot be read to their end: {COPY_AGAIN}") from None
    if end > size:
        raise BadInput(f"{path}: the file has {size:,} bytes, but its data reach to byte {end:,}: {COPY_AGAIN}")


def _first_directory(head: bytes) -> int | None:
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    if len(head) < 16:
        return None
    return struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]


def _end_of_data(path: Path) -> int:
    """Where the last tile ends."""
    log = logging.getLogger("tifffile")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it reports as log lines what is raised here
    try:
        with tifffile.TiffFile(path) as tiff:
            end = 0
            for page in tiff.pages:
                offsets, counts = (np.asarray(n, np.uint64) for n in (page.dataoffsets, page.databytecounts))
                if len(offsets):
                    end = max(end, int((offsets[: len(counts)] + counts[: len(offsets)]).max()))
            return end
    finally:
        log.setLevel(level)


def check_tiles(slide: Slide) -> None:
    """Raises BadInput if the first, the middle or the last tile of the full resolution cannot be decoded."""
    last_x, last_y = max(0, slide.width_px - 64), max(0, slide.height_px - 64)
    for x, y in ((0, 0), (last_x // 2, last_y // 2), (last_x, 0), (0, last_y), (last_x, last_y)):
        try:
            slide.read(x, y, 64, slide.mpp)
        except ReadError as error:
            raise BadInput(f"{slide.path}: the tile at pixel ({x}, {y}) cannot be decoded: {COPY_AGAIN}") from error


def check_picture(slide: Slide) -> None:
    """Raises BadInput for an all-white, all-black, or dark-field (fluorescence) picture."""
    picture = _picture(slide).reshape(-1, 3)
    low, middle, high = np.percentile(picture, [0.1, 50, 99.9], axis=0)
    if high.max() < 20:
        raise BadInput(f"{slide.path}: the slide is all black: scan it again, or take it out of the slide table")
    if (high - low).max() <= BLANK_RANGE:
        shade = "white" if middle.min() > 200 else "of one colour"
        raise BadInput(
            f"{slide.path}: the slide is all {shade}, nothing is on it: scan it again, or take it out of the table"
        )
    if middle.max() < 50 and np.percentile(picture.min(axis=1), 95) < 150:
        raise BadInput(
            f"{slide.path}: the background is dark, as in fluorescence: only bright-field slides (H&E and the like) can be"
            " used; take it out of the slide table"
        )


def _picture(slide: Slide) -> np.ndarray:
    """The slide at low resolution, or, if it has no coarse level, a mosaic of 12 x 12 windows of it: (h, w, 3) uint8."""
    coarsest = slide.coarsest_mpp
    if slide.width_px * slide.height_px * (slide.mpp / coarsest) ** 2 <= PICTURE_PX:
        return slide.overview(max(coarsest, slide.mpp * math.sqrt(slide.width_px * slide.height_px) / 1024))
    xs, ys = (np.linspace(0, n - 128, 12).astype(int) for n in (slide.width_px, slide.height_px))
    return np.concatenate([slide.read(int(x), int(y), 128, slide.mpp) for y in ys for x in xs])
