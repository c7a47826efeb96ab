"""Read a slide at exactly the mpp that is asked for.

A slide's pyramid has levels at whatever resolutions its maker chose. A region is read from the nearest level that is at
least as fine, and averaged over the exact area of each wanted pixel, so that 0.7 mpp is 0.7 mpp and not "the nearest
level". Every format goes through OpenSlide.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openslide
from scipy import sparse

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import is_finer, served_mpp

BLOCK_PX = 2**23  # pixels of a level that are held at once while a region is averaged
COARSEST_MPP = 100.0  # a light microscope's slide has no pixels wider than this
FINEST_MPP = 0.01
SQUARE = 0.01  # relative difference of mpp-x and mpp-y up to which pixels count as square
SEARCH_PX = 64  # how far before a region a level may be entered, to start on a whole pixel
WHOLE_PX = 0.02  # a level is entered "on a whole pixel" if it is off by no more than this
TRANSIENT = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES, errno.EAGAIN, errno.EMFILE, errno.ENOMEM)
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
NO_MPP = "give it in the `mpp` column of the slide table (micrometres per pixel of the full resolution, such as 0.25)"


class ReadError(OSError):
    """A region that cannot be decoded. A slide that was checked could be read once, so it is an OSError: worth a retry."""


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: level 0 pixels per pixel of this level, along x and y."""

    index: int
    scale_x: float
    scale_y: float
    addressed: float  # what OpenSlide takes the scale to be; differs where sizes were rounded

    @property
    def scale(self) -> float:
        return max(self.scale_x, self.scale_y)


def _levels(slide: openslide.OpenSlide) -> list[Level]:
    """The true scale of each level. A level of 141 x 124 px under 18048 x 15936 px is 1/128 and was cropped: not 1/128.26."""
    width, height = slide.dimensions
    levels = []
    for k, (level_width, level_height) in enumerate(slide.level_dimensions):
        whole = max(1, round(slide.level_downsamples[k]))
        if abs(level_width - width / whole) <= 1 and abs(level_height - height / whole) <= 1:
            scales = (float(whole), float(whole))
        else:
            scales = (width / level_width, height / level_height)
        levels.append(Level(k, *scales, addressed=slide.level_downsamples[k]))
    return levels


def as_transient(path: Path, error: Exception) -> OSError | None:
    """OpenSlide reports read errors in words alone; this gives back those that may pass (network, permission, memory)."""
    for number in TRANSIENT:
        if os.strerror(number) in str(error):
            return OSError(number, f"{os.strerror(number)} ({error})", str(path))
    return None


def _area_weights(edges: np.ndarray) -> sparse.csr_matrix:
    """(n, m) weights that average m pixels over the n intervals between `edges` (in pixels, from 0 to at most m)."""
    start, end = edges[:-1], edges[1:]
    first = np.floor(start).astype(np.int64)
    taps = int((np.ceil(end).astype(np.int64) - first).max())
    pixel = first[:, None] + np.arange(taps)
    covered = np.minimum(pixel + 1, end[:, None]) - np.maximum(pixel, start[:, None])
    weights = np.clip(covered, 0, None) / (end - start)[:, None]
    keep = weights > 0
    rows = np.broadcast_to(np.arange(len(start))[:, None], keep.shape)[keep]
    shape = (len(start), int(np.ceil(edges[-1])))
    return sparse.csr_matrix((weights[keep].astype(np.float32), (rows, pixel[keep])), shape=shape)


def area_average(image: np.ndarray, edges_y: np.ndarray, edges_x: np.ndarray) -> np.ndarray:
    """Mean of `image` (H, W, 3) uint8 over a grid of rectangles, with fractional borders weighed by area.

    `edges_y` (h + 1) and `edges_x` (w + 1) are the rectangles' borders in pixels of `image`, rising. Returns (h, w, 3) uint8.
    """
    height, width = len(edges_y) - 1, len(edges_x) - 1
    weights_y, weights_x = _area_weights(edges_y), _area_weights(edges_x)
    image = image[: weights_y.shape[1], : weights_x.shape[1]]
    rows = weights_y @ image.reshape(image.shape[0], -1).astype(np.float32)
    columns = np.ascontiguousarray(rows.reshape(height, image.shape[1], 3).transpose(1, 0, 2))
    out = weights_x @ columns.reshape(image.shape[1], -1)
    out = np.floor(out + np.float32(0.5)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(out.reshape(width, height, 3).transpose(1, 0, 2))


class Slide:
    """An open slide. `mpp` is that of level 0 (micrometres per pixel), `width_px` and `height_px` are level 0's.

    Raises BadInput if its mpp is missing, absurd, or not the same along x and y, unless `mpp` is given.
    """

    def __init__(self, handle: openslide.OpenSlide, path: Path, mpp: float | None = None):
        self._handle = handle
        self.path = path
        self.width_px, self.height_px = handle.dimensions
        self.vendor: str = handle.properties.get(openslide.PROPERTY_NAME_VENDOR, "")
        self.mpp: float = _checked_mpp(path, mpp) if mpp is not None else _own_mpp(path, handle)
        self._levels = _levels(handle)

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._handle.close()

    @property
    def coarsest_mpp(self) -> float:
        """mpp of the coarsest level of the pyramid: what can be read whole at little cost."""
        return self.mpp * max(level.scale for level in self._levels)

    def read(self, x_px: float, y_px: float, size_px: int | tuple[int, int], mpp: float) -> np.ndarray:
        """The region whose top left corner is level 0 pixel (x_px, y_px), `size_px` = (h, w) or one number, at `mpp`.

        Returns (h, w, 3) uint8: each pixel is the mean over its own area; within 3 % of the slide's own mpp its own pixels are
        given as they are (`served_mpp`). Outside the slide is white, and transparent pixels are laid on white. Raises BadInput
        for an mpp finer than that (nothing is upsampled silently), and ReadError or another OSError where reading fails.
        """
        height, width = (size_px, size_px) if isinstance(size_px, int) else size_px
        ratio = self._ratio(mpp)
        columns = min(width, max(1, int(2 * math.sqrt(BLOCK_PX) / ratio)))
        rows = min(height, max(1, int(BLOCK_PX / (columns * ratio * ratio))))
        out = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                block = out[top : top + rows, left : left + columns]
                block[:] = self._read_block(x_px + left * ratio, y_px + top * ratio, block.shape[:2], ratio)
        return out

    def overview(self, mpp: float) -> np.ndarray:
        """The whole slide at `mpp` (or what is served for it): (ceil(height), ceil(width), 3) uint8, memory bounded by it."""
        ratio = self._ratio(mpp)
        height, width = (max(1, math.ceil(n / ratio - 1e-6)) for n in (self.height_px, self.width_px))
        return self.read(0, 0, (height, width), mpp)

    def _ratio(self, mpp: float) -> float:
        """Level 0 pixels per pixel at `mpp`: 1 within the tolerance of its own. What is whole but for rounding in the tags
        (1e-6) is meant to be whole."""
        if is_finer(mpp, self.mpp):
            raise BadInput(
                f"{self.path}: {mpp:g} mpp was asked for, but the slide has {self.mpp:g}: ask for {self.mpp:g} mpp or coarser"
            )
        ratio = served_mpp(mpp, self.mpp) / self.mpp
        return float(round(ratio)) if abs(ratio - round(ratio)) < 1e-6 * ratio else ratio

    def _read_block(self, x_px: float, y_px: float, size_px: tuple[int, int], ratio: float) -> np.ndarray:
        """A region small enough to be held at once. `ratio`: level 0 pixels per pixel of the result."""
        for level in sorted(self._levels, key=lambda level: -level.scale):
            if level.scale > ratio * (1 + 1e-6):
                continue
            edges_x = _edges(x_px, size_px[1], ratio, level.scale_x)
            edges_y = _edges(y_px, size_px[0], ratio, level.scale_y)
            start_x, off_x = _entry(math.floor(edges_x[0]), level.addressed)
            start_y, off_y = _entry(math.floor(edges_y[0]), level.addressed)
            # OpenSlide interpolates between pixels when it is sent to a fraction of one: harmless under averaging only.
            if max(off_x, off_y) <= WHOLE_PX or ratio >= 2 * level.scale or level.index == 0:
                break
        edges_x, edges_y = edges_x - start_x, edges_y - start_y
        pixels = self._read_level(level, start_x, start_y, math.ceil(edges_x[-1]), math.ceil(edges_y[-1]))
        if all(
            np.array_equal(edges, edges[0] + np.arange(len(edges))) and edges[0] % 1 == 0
            for edges in (edges_x, edges_y)
        ):
            return pixels[int(edges_y[0]) : int(edges_y[-1]), int(edges_x[0]) : int(edges_x[-1])]
        left, top = math.floor(edges_x[0]), math.floor(edges_y[0])
        return area_average(pixels[top:, left:], edges_y - top, edges_x - left)

    def _read_level(self, level: Level, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Whole pixels of one level, on white: (height, width, 3) uint8."""
        location = (round(x * level.addressed), round(y * level.addressed))
        try:
            picture = np.asarray(self._handle.read_region(location, level.index, (width, height)))
        except openslide.OpenSlideError as error:
            message = f"{width} x {height} px at {location} of level {level.index} cannot be read: {error}"
            raise as_transient(self.path, error) or ReadError(errno.EIO, message, str(self.path)) from error
        alpha = picture[..., 3:]
        if alpha.min() == 255:
            return picture[..., :3]
        opaque = alpha.astype(np.uint16)
        return ((picture[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)


def _edges(start_px: float, n: int, ratio: float, scale: float) -> np.ndarray:
    """Borders of n wanted pixels, in a level's pixels; what lies within a millionth of a whole pixel is meant to be whole."""
    edges = (start_px + np.arange(n + 1) * ratio) / scale
    whole = np.rint(edges)
    return np.where(np.abs(edges - whole) < 1e-6, whole, edges)


def _entry(pixel: int, addressed: float) -> tuple[int, float]:
    """A pixel at or a little before `pixel` that OpenSlide, which is given whole level 0 pixels, can be sent to exactly."""
    candidates = pixel - np.arange(1 if addressed == int(addressed) else SEARCH_PX)
    off = np.abs(np.rint(candidates * addressed) / addressed - candidates)
    best = int(off.argmin())
    return int(candidates[best]), float(off[best])


def _checked_mpp(path: Path, mpp: float) -> float:
    if not (FINEST_MPP <= mpp <= COARSEST_MPP):
        raise BadInput(f"{path}: an mpp of {mpp:g} cannot be ({FINEST_MPP:g} to {COARSEST_MPP:g} can): {NO_MPP}")
    return float(mpp)


def _own_mpp(path: Path, handle: openslide.OpenSlide) -> float:
    """The mpp that the file itself states."""
    values = []
    for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y):
        try:
            values.append(_checked_mpp(path, float(handle.properties[name])))
        except (KeyError, ValueError):
            raise BadInput(f"{path}: the file does not say its mpp: {NO_MPP}") from None
    if abs(values[0] - values[1]) > SQUARE * max(values):
        raise BadInput(
            f"{path}: its pixels are not square ({values[0]:g} x {values[1]:g} mpp): resample the slide, or, if that is an"
            " error of the file, give the true mpp in the `mpp` column of the slide table"
        )
    return sum(values) / 2


def open_slide(path: str | Path, mpp: float | None = None) -> Slide:
    """Open any slide that OpenSlide reads; `mpp` overrides what the file says.

    Raises BadInput if the file is missing, empty, no slide, or has no usable mpp; OSError if it may work later.
    """
    path = Path(path)
    check_present(path)
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        raise as_transient(path, error) or _unreadable(path, error) from error
    try:
        return Slide(handle, path, mpp)
    except BaseException:
        handle.close()
        raise


def check_present(path: Path) -> None:
    """Raises BadInput for a missing file, a folder, or an empty file; OSError for what may pass."""
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(
            f"{path}: there is no such file: correct the `path` column of the slide table, or set HISTOGENESIS_SLIDE_ROOT to"
            " the folder that paths are relative to"
        ) from None
    if path.is_dir():
        raise BadInput(f"{path}: is a folder: name the slide file itself (for DICOM or MIRAX, one file of the set)")
    if size == 0:
        raise BadInput(f"{path}: the file is empty (0 bytes): copy it again from where it came from")


def _unreadable(path: Path, error: Exception) -> BadInput:
    """Why OpenSlide does not take a file, as far as its first bytes tell."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if b"\0" not in head and sum(byte in b"\t\n\r\f\x1b" or byte >= 32 for byte in head) == len(head):
        return BadInput(
            f"{path}: is a text file, not a slide, whatever its name says: put the slide itself in its place"
        )
    if head[:4] in TIFF_MAGIC:
        return BadInput(f"{path}: is a TIFF that OpenSlide cannot follow ({error}): cut off or damaged; copy it again")
    if isinstance(error, openslide.OpenSlideUnsupportedFormatError):
        return BadInput(
            f"{path}: is in no format that OpenSlide reads: convert it to a pyramidal TIFF (`vips tiffsave in out.tif --tile"
            " --pyramid --compression jpeg`), or, if it was cut off or damaged, copy it again"
        )
    return BadInput(f"{path}: cannot be opened ({error}): the file seems damaged or cut off; copy it again")
