"""Is this file a whole, bright-field slide? Cheap checks, before anything is spent on it."""

from __future__ import annotations

import logging
import math
import struct
from pathlib import Path

import numpy as np
import tifffile

from histogenesis.core.errors import BadInput
from histogenesis.slides.read import DamagedPlace, Slide
from histogenesis.slides.tiles import TIFF_MAGIC

COPY_AGAIN = "it was cut off, perhaps by an interrupted copy: copy it again from where it came from"
BLANK_RANGE = 4  # grey levels; even empty glass, scanned, has more
PICTURE_PX = 2**20  # of the picture that is looked at
PROBES, PROBE_PX = 8, 64  # places along each side that are read at full resolution
BLACK = 8  # grey levels, in all three colours
MASKED_SHARE = 0.02
BRIGHT = 60  # the darkest colour of what is not black: in fluorescence it is near 0


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
            return max(end, _next_directory(tiff) + 1)
    finally:
        log.setLevel(level)


def _next_directory(tiff: tifffile.TiffFile) -> int:
    """Where the last directory that can be read says that another one begins; 0 where it is the last."""
    page, how = tiff.pages[len(tiff.pages) - 1], tiff.tiff
    tiff.filehandle.seek(page.offset)
    (tags,) = struct.unpack(how.tagnoformat, tiff.filehandle.read(how.tagnosize))
    tiff.filehandle.seek(page.offset + how.tagnosize + tags * how.tagsize)
    return struct.unpack(how.offsetformat, tiff.filehandle.read(how.offsetsize))[0]


def probe_tiles(slide: Slide, max_damaged: float) -> dict:
    """Reads places all over the full resolution: {"probed", "failed", "first"} (the first failed one, in words, or None).

    Raises BadInput if more than `max_damaged` of them cannot be decoded.
    """
    failed, first = 0, None
    xs, ys = ((np.linspace(0, max(0, n - PROBE_PX), PROBES)).astype(int) for n in (slide.width_px, slide.height_px))
    places = sorted({(int(x), int(y)) for x in xs for y in ys}, key=lambda at: at[::-1])
    for x, y in places:
        try:
            slide.read(x, y, PROBE_PX, slide.mpp)
        except DamagedPlace as error:
            failed, first = failed + 1, first or str(error)
    if failed > max_damaged * len(places):
        raise BadInput(
            f"{slide.path}: {failed} of {len(places)} places that were tried cannot be decoded (more than"
            f" `slides.max_damaged`, {max_damaged:g}); the first: {first.removeprefix(f'{slide.path}: ')}"
        )
    return {"probed": len(places), "failed": failed, "first": first}


def check_picture(slide: Slide) -> tuple[np.ndarray, list[str]]:
    """The slide at low resolution, uint8 (h, w, 3), and warnings. Raises BadInput for an all-white, all-black, or dark-field
    (fluorescence) picture."""
    mpp = slide.mpp * max(1.0, math.sqrt(slide.width_px * slide.height_px / PICTURE_PX))
    picture = slide.overview(mpp)
    pixels = picture[~slide.unscanned(mpp)]
    if not len(pixels):
        raise BadInput(
            f"{slide.path}: nothing of the slide was scanned: scan it again, or take it out of the slide table"
        )
    low, middle, high = np.percentile(pixels, [0.02, 50, 99.98], axis=0)
    if high.max() < 20:
        raise BadInput(f"{slide.path}: the slide is all black: scan it again, or take it out of the slide table")
    if (high - low).max() <= BLANK_RANGE:
        shade = "white" if middle.min() > 200 else "of one colour"
        raise BadInput(
            f"{slide.path}: the slide is all {shade}, nothing is on it: scan it again, or take it out of the table"
        )
    black = pixels.max(axis=1) <= BLACK
    shown = pixels[pixels.max(axis=1) > 4 * BLACK]
    if black.mean() >= MASKED_SHARE and len(shown) and np.median(shown.min(axis=1)) >= BRIGHT:
        return picture, [
            f"{black.mean():.0%} of the slide is black, as an anonymiser leaves it: black is taken for background"
        ]
    if middle.max() < 50 and np.percentile(pixels.min(axis=1), 95) < 150:
        raise BadInput(
            f"{slide.path}: the background is dark, as in fluorescence: only bright-field slides (H&E and the like) can be"
            " used; take it out of the slide table"
        )
    return picture, []
