"""A finished level as a file: level{k}.h5."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import h5py
import numpy as np

from histogenesis.canvas.tiling import ForegroundMask
from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import CHUNKED, check_seal, fletcher32, naming_damage, writing

if TYPE_CHECKING:  # slides' own environment has no PyTorch
    from histogenesis.canvas.sections import GeneratedLevel

BAND_PX = 256


def write_level(path: Path, bands: Iterable[tuple[int, np.ndarray]], height: int, width: int, attributes: dict) -> None:
    """Write level{k}.h5: `image` (H, W, 3) uint8 in lossless chunks, and its attributes.

    `bands` yields (y, uint8 rows), from the top. Chunks of one colour are compressed; the others are stored as they are: of
    tissue, compression saves 2.5 % (measured).
    """
    try:
        with writing(path) as file:
            chunk = (min(BAND_PX, height), min(BAND_PX, width), 3)
            options = {"chunks": chunk, "compression": "lzf", "shuffle": False, **CHUNKED}
            image = file.create_dataset("image", (height, width, 3), np.uint8, **options)
            stored = np.empty(math.prod(chunk) + 4, np.uint8)  # a chunk and its checksum
            block = stored[:-4].reshape(chunk)
            for y, rows in _rows_of_chunks(bands, chunk[0], height, -(-width // chunk[1]) * chunk[1]):
                for x in range(0, width, chunk[1]):
                    block[:] = rows[:, x : x + chunk[1]]
                    if (block[0] == block[0, 0]).all() and (block == block[0, 0]).all():
                        image[y : y + chunk[0], x : x + chunk[1]] = block[: height - y, : width - x]
                    else:
                        stored[-4:] = np.frombuffer(fletcher32(block), np.uint8)
                        image.id.write_direct_chunk((y, x, 0), stored, filter_mask=1)  # 1: not compressed
            file.attrs.update(attributes)
    except OSError as error:
        raise OSError(error.errno, f"{path}: could not be written ({error}); is the disk full?") from error


def _rows_of_chunks(
    bands: Iterable[tuple[int, np.ndarray]], chunk_px: int, height: int, width_px: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The same rows as bands of `chunk_px`, the last one filled up, as wide as whole chunks."""
    rows, filled = np.zeros((chunk_px, width_px, 3), np.uint8), 0
    for y, band in bands:
        if band.shape[:2] == rows.shape[:2] and not filled:
            yield y, band
            continue
        done = 0
        while done < len(band):
            n = min(len(band) - done, chunk_px - filled)
            rows[filled : filled + n, : band.shape[1]] = band[done : done + n]
            done, filled = done + n, filled + n
            if filled == chunk_px or y + done == height:
                yield y + done - filled, rows
                rows, filled = np.zeros_like(rows), 0


class Generator(Protocol):
    """What makes a level: a drawing or an upscaling. background: RGB."""

    @property
    def section(self) -> GeneratedLevel: ...

    size_px: tuple[int, int]
    k: int
    slide: str
    seed: int
    background: tuple[int, int, int]
    foreground: ForegroundMask


def write_generated(path: Path, source: Generator, bands: Iterable[tuple[int, np.ndarray]], **attributes) -> None:
    """write_level, with what every level of a synthetic slide says of itself."""
    common = {
        "mpp": source.section.mpp,
        "level": source.k,
        "slide": source.slide,
        "seed": source.seed,
        "model": source.section.model or "",
        "background": np.array(source.background, np.uint8),
        "drawn": source.foreground.share,
        "synthetic": True,
    }
    write_level(path, bands, *source.size_px, common | attributes)


class Level:
    """A finished level, read window by window."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with naming_damage(path):
                self.file = h5py.File(path, "r", rdcc_nbytes=64 << 20)
                check_seal(self.file)
                self.attributes = dict(self.file.attrs)
                if "image" not in self.file:
                    raise BadInput(f"{path}: not a level of a synthetic slide (it has no `image`)")
                self.image = self.file["image"]
        except FileNotFoundError:
            raise BadInput(f"{path}: no such level; draw it first") from None

    @property
    def mpp(self) -> float:
        return float(self.attributes["mpp"])

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.image.shape[:2]
        return height, width

    def window(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """uint8 (height, width, 3)."""
        with naming_damage(self.path):
            return self.image[y : y + height, x : x + width]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
