"""Write pixels that come in rows of tiles as a pyramidal BigTIFF, in one pass and in bounded memory.

Every level's tiles are encoded while level 0 streams by; those of the coarser levels wait, encoded, in a temporary file
until their turn. Levels are main-chain directories (SubfileType 1) and resolution tags give the mpp: what OpenSlide reads.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile
from tqdm import tqdm

from histogenesis.core.errors import DiskFull
from histogenesis.core.files import written
from histogenesis.core.geometry import per_cm
from histogenesis.core.version import VERSION
from histogenesis.recipe import SlideFile

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROWS = 8  # of sums at once: so few that what is done next with them finds them in the cache
SUBSAMPLING = {"4:4:4": (1, 1), "4:2:0": (2, 2)}


def level_sizes(height: int, width: int, tile_px: int) -> list[tuple[int, int]]:
    """(height, width) of each level: halved, rounded up, until one tile holds it."""
    sizes = [(height, width)]
    while max(sizes[-1]) > tile_px:
        height, width = ((n + 1) // 2 for n in sizes[-1])
        sizes.append((height, width))
    return sizes


def halve(sums: np.ndarray, wide: type) -> np.ndarray:
    """Sums over 2 x 2 pixels of (H, W, 3) integers, as `wide`; an odd last row or column counts twice."""
    height, width = sums.shape[:2]
    if height % 2 or width % 2:
        sums = np.pad(sums, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    out = np.empty(((height + 1) // 2, (width + 1) // 2, 3), wide)
    for y in range(0, len(out), ROWS):
        part = out[y : y + ROWS]
        upper, lower = (sums[2 * y + n : 2 * (y + ROWS) : 2] for n in (0, 1))
        rows = np.add(upper, lower, dtype=wide).reshape(len(part), -1)
        for channel in range(3):  # one at a time: numpy is slow over a last axis of 3
            np.add(rows[:, channel::6], rows[:, channel + 3 :: 6], out=part[..., channel])
    return out


def rounded(sums: np.ndarray, level: int) -> np.ndarray:
    """Sums over the 4^level pixels of each as their mean, half up: uint8."""
    out = np.empty(sums.shape, np.uint8)
    for y in range(0, len(sums), ROWS):
        part = sums[y : y + ROWS] + (4**level // 2)
        part >>= 2 * level
        out[y : y + ROWS] = part
    return out


def encode_tile(tile: np.ndarray, options: SlideFile) -> bytes:
    """One tile (tile_px, tile_px, 3) uint8 as JPEG."""
    return simplejpeg.encode_jpeg(
        tile, quality=options.quality, colorspace="RGB", colorsubsampling=options.subsampling.replace(":", "")
    )


def tiles_of(band: np.ndarray, tile_px: int) -> list[np.ndarray]:
    """A row of tiles, views of it where it fills them; at the border its last row and column are repeated."""
    tiles = [band[:, x : x + tile_px] for x in range(0, band.shape[1], tile_px)]
    missing = [[(0, tile_px - side) for side in tile.shape[:2]] for tile in tiles]
    return [
        np.pad(tile, (*more, (0, 0)), mode="edge") if any(map(any, more)) else tile
        for tile, more in zip(tiles, missing)
    ]


class Reducer:
    """Makes the coarser levels while level 0 goes by.

    Level k is the mean over 2^k x 2^k pixels of level 0, in exact arithmetic: sums are kept as integers and rounded once, at
    the end (half up).
    """

    def __init__(self, sizes: list[tuple[int, int]], tile_px: int, spools: list, encode_all: Callable):
        self.sizes, self.tile_px, self.spools, self.encode_all = sizes, tile_px, spools, encode_all
        self.lengths: list[list[int]] = [[] for _ in sizes]  # bytes of each encoded tile
        self.waiting: list[list[np.ndarray]] = [[] for _ in sizes]  # rows of sums that do not fill a tile yet
        self.done_rows = [0] * len(sizes)

    def add(self, level: int, sums: np.ndarray) -> None:
        """Take rows of `level`, as sums over its 4^level pixels: an even number of rows, or the level's last ones."""
        if level + 1 < len(self.sizes):
            wide = np.uint16 if level < 4 else np.uint32 if level < 12 else np.uint64
            self._collect(level + 1, halve(sums, wide))

    def _collect(self, level: int, sums: np.ndarray) -> None:
        self.waiting[level].append(sums)
        rows = sum(len(part) for part in self.waiting[level])
        if rows < self.tile_px and self.done_rows[level] + rows < self.sizes[level][0]:
            return
        band = np.concatenate(self.waiting[level])
        self.waiting[level] = []
        self.done_rows[level] += rows
        self.add(level, band)
        for tile in self.encode_all(rounded(band, level)):
            self.spools[level].write(tile)
            self.lengths[level].append(len(tile))

    def tiles(self, level: int) -> Iterator[bytes]:
        """The encoded tiles of a coarser level, once all rows have gone by."""
        self.spools[level].seek(0)
        for length in self.lengths[level]:
            yield self.spools[level].read(length)


def write_pyramid(
    read_rows: Callable[[int, int], np.ndarray],
    size_px: tuple[int, int],
    mpp: float,
    out: Path,
    options: SlideFile,
    description: dict,
    check: Callable[[Path], None] | None = None,
    threads: int | None = None,
) -> list[tuple[int, int]]:
    """Write a pyramidal JPEG BigTIFF; returns (height, width) of its levels.

    `read_rows(y0, y1)` gives rows of level 0, (y1 - y0, W, 3) uint8, and is called from top to bottom. `description` becomes
    the ImageDescription, as JSON. `check` is called with the finished file before it takes its name. Same pixels and
    options, same bytes, whatever the number of threads. On failure nothing is left; a full disk is an OSError that says
    which file and how much is needed.
    """
    height, width = size_px
    sizes = level_sizes(height, width, options.tile_px)
    progress = {"rows": 0}
    spools: list = []
    with written(out) as part:
        try:
            with ExitStack() as stack:
                pool = stack.enter_context(ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))))
                spools += [stack.enter_context(tempfile.TemporaryFile(dir=out.parent)) for _ in sizes]
                tiff = stack.enter_context(tifffile.TiffWriter(part, bigtiff=True, ome=False))

                def encode_all(band: np.ndarray) -> Iterator[bytes]:
                    return pool.map(lambda tile: encode_tile(tile, options), tiles_of(band, options.tile_px))

                reducer = Reducer(sizes, options.tile_px, spools, encode_all)

                def finest() -> Iterator[bytes]:
                    encoded: Iterator[bytes] = iter(())
                    starts = range(0, height, options.tile_px)
                    for y0 in tqdm(starts, desc=f"writing {out.name}", unit="row", mininterval=1):
                        band = read_rows(y0, min(y0 + options.tile_px, height))
                        before, encoded = encoded, encode_all(band)
                        reducer.add(0, band)  # threads encode this row while the coarser levels are summed,
                        yield from before  # the one before is written, and the next one is read
                        progress["rows"] = y0
                    yield from encoded
                    progress["rows"] = height

                for level, size in enumerate(sizes):
                    density = Fraction(per_cm(mpp * 2**level))  # pixels per centimetre, as a ratio of 32-bit integers
                    density = density.limit_denominator(min(2**32 - 1, int(4e9 / density)))
                    tiff.write(
                        reducer.tiles(level) if level else finest(),
                        shape=(*size, 3),
                        dtype=np.uint8,
                        tile=(options.tile_px, options.tile_px),
                        compression="jpeg",
                        photometric="ycbcr",
                        subsampling=SUBSAMPLING[options.subsampling],
                        subfiletype=1 if level else 0,
                        resolution=((density.numerator, density.denominator),) * 2,
                        resolutionunit="CENTIMETER",
                        description=None if level else json.dumps(description, sort_keys=True),
                        software=f"histogenesis {VERSION}",
                        metadata=None,
                    )
            if check:
                check(part)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise _disk_full(error, out, part, progress["rows"] / height, height * width * 3) from error
    return sizes


def _disk_full(error: OSError, out: Path, part: Path, done: float, raw_bytes: int) -> DiskFull:
    """The same error, with how much is needed: extrapolated from what was written, or a fifth of the raw pixels."""
    written = part.stat().st_size if part.exists() else 0
    # Level 0 and, beside it for a while, a third of its size in encoded tiles of the coarser levels, then those again.
    needed = max(written, written / done) * 5 / 3 if done > 0.02 else raw_bytes / 5
    free = shutil.disk_usage(out.parent).free + written
    message = (
        f"{os.strerror(error.errno)} while writing {out}: about {needed / 1e6:,.0f} MB are needed in {out.parent}, and"
        f" {free / 1e6:,.0f} MB are free there (or allowed): make room and run again. Nothing was left behind"
    )
    return DiskFull(error.errno, message)
