"""Read a slide at exactly the mpp that is asked for.

A slide's pyramid has levels at whatever resolutions its maker chose. A region is read from the nearest level that is at
least as fine, and averaged over the exact area of each wanted pixel, so that 0.7 mpp is 0.7 mpp and not "the nearest
level". Coordinates are those of the part that was scanned (OpenSlide's bounds), which is also what QuPath shows.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openslide

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, served_mpp
from histogenesis.slides.average import area_average, reduced
from histogenesis.slides.plausible import find_mpp
from histogenesis.slides.sources import OpenSlideSource, TiffSource, open_source
from histogenesis.slides.tiles import TIFF_MAGIC, TileError, why_not_tiff

BLOCK_PX = 2**23  # pixels of a level that are held at once while a region is averaged
WHOLE_PX = 0.02  # a level is entered "on a whole pixel" if it is off by no more than this
TRANSIENT = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES, errno.EAGAIN, errno.EMFILE, errno.ENOMEM)
AGAIN = 2  # times that a place is tried after reopening, before it counts as damage
CELL_PX = 256  # a region that holds a damaged place is read in cells of so many px of its level
CONVERT = "open it in the program that wrote it and export a pyramidal TIFF or OME-TIFF with JPEG tiles"


class Unreadable(BadInput):
    """A file that is there and whole, but that no slide reader opens: it may still be imported."""


class DamagedPlace(BadInput):
    """A region that could not be decoded, and not after the file was opened anew either: not the network, but the file."""


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: level 0 pixels per pixel of this level, along x and y."""

    index: int
    scale_x: float
    scale_y: float

    @property
    def scale(self) -> float:
        return max(self.scale_x, self.scale_y)


def _levels(source: OpenSlideSource | TiffSource) -> list[Level]:
    """The true scale of each level, coarsest first. 141 x 124 px under 18048 x 15936 px is 1/128, cropped: not 1/128.26."""
    width, height = source.dimensions
    levels = []
    for k, (level_width, level_height) in enumerate(source.level_dimensions):
        whole = max(1, round(source.level_downsamples[k]))
        if abs(level_width - width / whole) <= 1 and abs(level_height - height / whole) <= 1:
            scales = (float(whole), float(whole))
        else:
            scales = (width / level_width, height / level_height)
        levels.append(Level(k, *scales))
    return sorted(levels, key=lambda level: -level.scale)


def as_transient(path: Path, error: Exception) -> OSError | None:
    """OpenSlide reports read errors in words alone; this gives back those that may pass (network, permission, memory)."""
    for number in TRANSIENT:
        if os.strerror(number) in str(error):
            return OSError(number, f"{os.strerror(number)} ({error})", str(path))
    return None


class Slide:
    """An open slide. `mpp` is that of level 0 (micrometres per pixel), `width_px` and `height_px` are level 0's, of the part
    that was scanned; `origin_px` is where that part begins on the whole plane (0, 0 but for MIRAX, Leica, Ventana).

    `damaged`: places (x, y, width, height), level 0 pixels, that a read with `fill` found undecodable. Raises BadInput if its
    mpp is missing or cannot be (`plausible.find_mpp`).
    """

    def __init__(
        self, source: OpenSlideSource | TiffSource, path: Path, mpp: float | None = None, trusted: bool = False
    ):
        self._source = source
        self.path = path
        left_px, top_px, self.width_px, self.height_px = source.bounds
        self.origin_px = left_px, top_px
        self.vendor, self.facts = source.vendor, source.facts
        size_px = self.width_px, self.height_px
        self.mpp, self.warnings = find_mpp(path, source.mpp, mpp, source.objective, size_px, trusted)
        if source.bits > 8:
            self.warnings.append(f"samples of {source.bits} bits are read as 8")
        self.damaged: list[tuple[float, float, float, float]] = []
        self._levels = _levels(source)

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._source.close()

    @property
    def coarsest_mpp(self) -> float:
        """mpp of the coarsest level of the pyramid: what can be read whole at little cost."""
        return self.mpp * self._levels[0].scale

    def read(
        self, x_px: float, y_px: float, size_px: int | tuple[int, int], mpp: float, fill: bool = False
    ) -> np.ndarray:
        """The region whose top left corner is level 0 pixel (x_px, y_px), `size_px` = (h, w) or one number, at `mpp`.

        Returns (h, w, 3) uint8, the caller's own: each pixel is the mean over its own area; within 3 % of the slide's own mpp
        its own pixels are given as they are (`served_mpp`). Outside the slide is white, and transparent pixels are laid on
        white. fill: what cannot be decoded is white too, and noted in `damaged`. Raises BadInput for an mpp finer than that
        (nothing is upsampled silently), DamagedPlace where the file is damaged, and OSError where reading fails.
        """
        height, width = (size_px, size_px) if isinstance(size_px, int) else size_px
        ratio = self._ratio(mpp)
        x_px, y_px = x_px + self.origin_px[0], y_px + self.origin_px[1]
        columns = min(width, max(1, int(2 * math.sqrt(BLOCK_PX) / ratio)))
        rows = min(height, max(1, int(BLOCK_PX / (columns * ratio * ratio))))
        out = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                block = out[top : top + rows, left : left + columns]
                block[:] = self._read_block(x_px + left * ratio, y_px + top * ratio, block.shape[:2], ratio, fill)
        return out

    def overview(self, mpp: float) -> np.ndarray:
        """The whole slide at `mpp` (or what is served for it): (ceil(height), ceil(width), 3) uint8, memory bounded by it.

        Damaged places are white, and in `damaged`.
        """
        return self.read(0, 0, self._overview_px(mpp), mpp, fill=True)

    def unscanned(self, mpp: float) -> np.ndarray:
        """Where the scanner left out parts of the slide, bool, on the grid of `overview`."""
        size, ratio = self._overview_px(mpp), self._ratio(mpp)
        there = self._source.scanned()
        if there is None:
            return np.zeros(size, bool)
        places = []
        for axis, (n, origin) in enumerate(zip(size, self.origin_px[::-1])):
            centre = (origin + (np.arange(n) + 0.5) * ratio) / self._source.dimensions[1 - axis]
            places.append(np.clip((centre * there.shape[axis]).astype(int), 0, there.shape[axis] - 1))
        return ~there[np.ix_(*places)]

    def _overview_px(self, mpp: float) -> tuple[int, int]:
        ratio = self._ratio(mpp)
        height, width = (max(1, math.ceil(n / ratio - 1e-6)) for n in (self.height_px, self.width_px))
        return height, width

    def _ratio(self, mpp: float) -> float:
        """Level 0 pixels per pixel at `mpp`: 1 within the tolerance of its own. What is whole but for rounding in the tags
        (1e-6) is meant to be whole."""
        if is_finer(mpp, self.mpp):
            raise BadInput(
                f"{self.path}: {mpp:g} mpp was asked for, but the slide has {self.mpp:g}: ask for {self.mpp:g} mpp or coarser"
            )
        ratio = served_mpp(mpp, self.mpp) / self.mpp
        return float(round(ratio)) if abs(ratio - round(ratio)) < 1e-6 * ratio else ratio

    def _read_block(self, x_px: float, y_px: float, size_px: tuple[int, int], ratio: float, fill: bool) -> np.ndarray:
        """A region small enough to be held at once. ratio: level 0 pixels per pixel of the result; x_px, y_px: on the plane."""
        for level in self._levels:
            if level.scale > ratio * (1 + 1e-6):
                continue
            whole = _whole(x_px / level.scale_x), _whole(y_px / level.scale_y), _whole(ratio / level.scale)
            exact = None not in whole and level.scale_x == level.scale_y
            if (
                exact
                and self._source.entry(level.index, whole[0]) == (whole[0], 0.0)
                and (self._source.entry(level.index, whole[1]) == (whole[1], 0.0))
            ):
                x, y, step = whole
                return reduced(self._pixels(level, x, y, size_px[1] * step, size_px[0] * step, fill), step)
            start_x, off_x = self._source.entry(level.index, math.floor(_nearly(x_px / level.scale_x)))
            start_y, off_y = self._source.entry(level.index, math.floor(_nearly(y_px / level.scale_y)))
            # OpenSlide interpolates between pixels when it is sent to a fraction of one: harmless under averaging only.
            if max(off_x, off_y) <= WHOLE_PX or ratio >= 2 * level.scale or level.index == 0:
                break
        edges_x = _edges(x_px, size_px[1], ratio, level.scale_x) - start_x
        edges_y = _edges(y_px, size_px[0], ratio, level.scale_y) - start_y
        pixels = self._pixels(level, start_x, start_y, math.ceil(edges_x[-1]), math.ceil(edges_y[-1]), fill)
        left, top = math.floor(edges_x[0]), math.floor(edges_y[0])
        return area_average(pixels[top:, left:], edges_y - top, edges_x - left)

    def _pixels(self, level: Level, x: int, y: int, width: int, height: int, fill: bool) -> np.ndarray:
        """Whole pixels of one level, on white: (height, width, 3) uint8."""
        try:
            return self._try(level, x, y, width, height)
        except DamagedPlace:
            if not fill:
                raise
        out = np.full((height, width, 3), 255, np.uint8)
        for top in range(y - y % CELL_PX, y + height, CELL_PX):
            for left in range(x - x % CELL_PX, x + width, CELL_PX):
                x0, y0 = max(x, left), max(y, top)
                x1, y1 = min(x + width, left + CELL_PX), min(y + height, top + CELL_PX)
                try:
                    out[y0 - y : y1 - y, x0 - x : x1 - x] = self._try(level, x0, y0, x1 - x0, y1 - y0)
                except DamagedPlace:
                    self.damaged.append((
                        x0 * level.scale_x - self.origin_px[0], y0 * level.scale_y - self.origin_px[1],
                        (x1 - x0) * level.scale_x, (y1 - y0) * level.scale_y,
                    ))  # fmt: skip
        return out

    def _try(self, level: Level, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Read once, and after an error again with the file opened anew: what then reads was the network, what does not is
        damage. An error that says itself that it may pass (I/O, permission) rises as OSError."""
        for attempt in range(1 + AGAIN):
            try:
                if attempt:
                    self._source.reopen()
                return self._source.read(level.index, x, y, width, height)
            except (openslide.OpenSlideError, TileError) as error:
                if transient := as_transient(self.path, error):
                    raise transient from error
                last = error
        where = round(x * level.scale_x - self.origin_px[0]), round(y * level.scale_y - self.origin_px[1])
        raise DamagedPlace(
            f"{self.path}: {width} x {height} px at pixel {where} (level {level.index}) cannot be decoded: {last}: copy the"
            " file again, or scan the slide again"
        )


def _whole(value: float) -> int | None:
    """The whole number that a value is, but for a millionth; None if it is none."""
    whole = round(value)
    return whole if abs(value - whole) < 1e-6 else None


def _nearly(value: float) -> float:
    """What lies within a millionth of a whole number is meant to be it."""
    whole = _whole(value)
    return value if whole is None else whole


def _edges(start_px: float, n: int, ratio: float, scale: float) -> np.ndarray:
    """Borders of n wanted pixels, in a level's pixels; what lies within a millionth of a whole pixel is meant to be whole."""
    edges = (start_px + np.arange(n + 1) * ratio) / scale
    whole = np.rint(edges)
    return np.where(np.abs(edges - whole) < 1e-6, whole, edges)


def open_slide(path: str | Path, mpp: float | None = None, trusted: bool = False) -> Slide:
    """Open any slide that OpenSlide reads, and tiled TIFFs that it does not; `mpp` overrides what the file says, and what is
    `trusted` (this program wrote it) is not asked whether its mpp can be.

    Raises BadInput if the file is missing, empty, no slide, or has no usable mpp; OSError if it may work later.
    """
    path = Path(path)
    check_present(path)
    try:
        source = open_source(path)
    except openslide.OpenSlideError as error:
        raise as_transient(path, error) or _unreadable(path, error) from error
    try:
        return Slide(source, path, mpp, trusted)
    except BaseException:
        source.close()
        raise


def check_present(path: Path) -> None:
    """Raises BadInput for a missing file, a folder, or an empty file; OSError for what may pass."""
    try:
        size = path.stat().st_size
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadInput(f"{path}: is a loop of links: link to the slide itself") from None
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise
        raise BadInput(
            f"{path}: there is no such file: correct the `path` column of the slide table, or set HISTOGENESIS_SLIDE_ROOT to"
            " the folder that paths are relative to"
        ) from None
    if path.is_dir():
        raise BadInput(f"{path}: is a folder: name the slide file itself (for DICOM or MIRAX, one file of the set)")
    if size == 0:
        raise BadInput(f"{path}: the file is empty (0 bytes): copy it again from where it came from")


def _unreadable(path: Path, error: Exception) -> Unreadable:
    """Why OpenSlide does not take a file, as far as its first bytes tell."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if b"\0" not in head and sum(byte in b"\t\n\r\f\x1b" or byte >= 32 for byte in head) == len(head):
        return Unreadable(
            f"{path}: is a text file, not a slide, whatever its name says: put the slide itself in its place"
        )
    if head[:4] in TIFF_MAGIC:
        why = why_not_tiff(path)
        if why:
            return Unreadable(f"{path}: is a TIFF that cannot be read here: it {why}: {CONVERT}")
        return Unreadable(
            f"{path}: is a TIFF that OpenSlide cannot follow ({error}): cut off or damaged; copy it again"
        )
    if isinstance(error, openslide.OpenSlideUnsupportedFormatError):
        return Unreadable(
            f"{path}: is in no format that OpenSlide reads: {CONVERT}, or, if it was cut off or damaged, copy it again"
        )
    return Unreadable(f"{path}: cannot be opened ({error}): the file seems damaged or cut off; copy it again")
