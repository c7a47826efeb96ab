"""What the viewer shows, as tiles of a deep-zoom pyramid, read out of the files that are there: no second copy of a slide.

Level n of a pyramid has 2^(last - n) times fewer pixels along each side than the picture; tiles are TILE_PX, without overlap.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import openslide
from openslide.deepzoom import DeepZoomGenerator
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.metrics.coherence.strips import open_levels
from histogenesis.slides.read import area_average

TILE_PX = 256
QUALITY = 88


class DeepImage:
    """A picture of width_px x height_px at `mpp`; `tile` gives a JPEG of one tile of its pyramid."""

    width_px: int
    height_px: int
    mpp: float

    def _tile(self, level: int, x: int, y: int) -> Image.Image:
        raise NotImplementedError

    @property
    def last(self) -> int:
        """The number of the full-resolution level."""
        return math.ceil(math.log2(max(self.width_px, self.height_px)))

    def grid(self, level: int) -> tuple[int, int]:
        """Columns and rows of tiles of a level. Raises KeyError where there is no such level."""
        if not 0 <= level <= self.last:
            raise KeyError(level)
        scale = 2 ** (self.last - level)
        return tuple(math.ceil(math.ceil(side / scale) / TILE_PX) for side in (self.width_px, self.height_px))

    def tile(self, level: int, x: int, y: int) -> bytes:
        """Raises KeyError where there is no such tile."""
        columns, rows = self.grid(level)
        if not (0 <= x < columns and 0 <= y < rows):
            raise KeyError((x, y))
        buffer = io.BytesIO()
        self._tile(level, x, y).convert("RGB").save(buffer, "JPEG", quality=QUALITY, subsampling=0)
        return buffer.getvalue()


class SlideImage(DeepImage):
    """A slide file that OpenSlide reads. Raises BadInput for one that it does not."""

    def __init__(self, path: Path, mpp: float | None = None):
        try:
            self._slide = openslide.OpenSlide(path)
        except (openslide.OpenSlideError, OSError) as error:
            raise BadInput(f"{path}: cannot be opened ({error})") from None
        self._tiles = DeepZoomGenerator(self._slide, TILE_PX, 0)
        self.width_px, self.height_px = self._slide.dimensions
        self.mpp = mpp or float(self._slide.properties.get(openslide.PROPERTY_NAME_MPP_X, 0) or 0)

    def _tile(self, level, x, y):
        return self._tiles.get_tile(level, (x, y))


class CanvasImage(DeepImage):
    """Level k of a synthetic slide, from the canvases of levels 0 to k: averaged from the coarsest that is fine enough."""

    def __init__(self, folder: Path, k: int):
        self._files = open_levels(folder)[: k + 1]
        self.height_px, self.width_px = self._files[k]["image"].shape[:2]
        self.mpp = float(self._files[k].attrs["mpp"])

    def _tile(self, level, x, y):
        factor = 2 ** (self.last - level)
        wanted = self.mpp * factor * (1 + 1e-6)
        file = next(file for file in self._files if float(file.attrs["mpp"]) <= wanted or file is self._files[-1])
        image, edges = file["image"], []
        for start, side, own in zip((y, x), (self.height_px, self.width_px), image.shape[:2]):
            last = min((start + 1) * TILE_PX * factor, side)
            px = math.ceil((last - start * TILE_PX * factor) / factor)
            along = start * TILE_PX * factor + np.arange(px + 1) * factor
            edges.append(np.minimum(along, side) * (own / side))
        (top, left), (bottom, right) = ((math.floor(e[0]) for e in edges), (math.ceil(e[-1]) for e in edges))
        part = image[top:bottom, left:right]
        return Image.fromarray(area_average(part, edges[0] - top, edges[1] - left))
