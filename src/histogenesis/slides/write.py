"""A finished canvas as a slide: pyramidal TIFF, reopened with OpenSlide and checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg

from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import reading
from histogenesis.core.version import VERSION
from histogenesis.recipe import SlideFile
from histogenesis.slides.pyramid import encode_tile, tiles_of, write_pyramid
from histogenesis.slides.read import open_slide

MPP_TOLERANCE = 1e-4  # relative
DECODERS_DIFFER = 4  # grey levels by which two JPEG decoders may differ


def write_slide(canvas_h5: Path, out: Path, options: SlideFile, provenance: dict, threads: int | None = None) -> dict:
    """Write the canvas of a level (HDF5: `image` (H, W, 3) uint8, attribute `mpp`) as a slide that opens in QuPath.

    The ImageDescription is JSON that says that the slide is synthetic, by what, and, from `provenance`, from which run. There
    is no label, no macro image, and nothing of any real slide. Returns width_px, height_px, mpp, levels, bytes.
    Raises BadInput for a file that is no canvas; OSError where the disk is full.
    """
    if not Path(canvas_h5).exists():
        raise BadInput(f"{canvas_h5}: there is no such canvas: draw the level first")
    with reading(canvas_h5) as file:
        if "image" not in file or "mpp" not in file.attrs or file["image"].ndim != 3 or file["image"].dtype != np.uint8:
            raise BadInput(
                f"{canvas_h5}: is not a canvas (`image` (H, W, 3) uint8 and the attribute `mpp`): draw it again"
            )
        image, mpp = file["image"], float(file.attrs["mpp"])
        height, width = image.shape[:2]
        description = {"slide": str(file.attrs.get("slide", out.stem)), "mpp": mpp, **provenance, **who_made_it()}

        def check(path: Path) -> None:
            check_slide(path, lambda y0, y1, x0, x1: image[y0:y1, x0:x1], (height, width), mpp, options)

        sizes = write_pyramid(
            lambda y0, y1: image[y0:y1], (height, width), mpp, out, options, description, check=check, threads=threads
        )
    return {
        "width_px": width,
        "height_px": height,
        "mpp": mpp,
        "levels": [[w, h] for h, w in sizes],
        "bytes": out.stat().st_size,
    }


def who_made_it() -> dict:
    """What every slide that comes from here says of itself."""
    return {"synthetic": True, "software": f"histogenesis {VERSION}"}


def check_slide(path: Path, read: Callable, size_px: tuple[int, int], mpp: float, options: SlideFile) -> None:
    """Reopen a slide with OpenSlide: its size, levels, mpp, and pixels of nine tiles against `read(y0, y1, x0, x1)`.

    A tile must equal what its own JPEG decodes to, so that noise and flat colour are held to the same bar. Raises
    RuntimeError: a slide that fails is an error of this program.
    """
    height, width = size_px
    tile_px = options.tile_px
    with open_slide(path, trusted=True) as slide:
        if (slide.height_px, slide.width_px) != (height, width):
            raise RuntimeError(
                f"{path}: OpenSlide sees {slide.width_px} x {slide.height_px} px, not {width} x {height}"
            )
        if abs(slide.mpp / mpp - 1) > MPP_TOLERANCE:
            raise RuntimeError(f"{path}: OpenSlide sees {slide.mpp} mpp, not {mpp}")
        finest_of_last = slide.coarsest_mpp / mpp
        if max(height, width) / finest_of_last > tile_px + 1:
            raise RuntimeError(f"{path}: OpenSlide's coarsest level is only 1/{finest_of_last:g}: levels are missing")
        places_y, places_x = ({0, n // 2 // tile_px * tile_px, (n - 1) // tile_px * tile_px} for n in (height, width))
        for y0, x0 in itertools.product(sorted(places_y), sorted(places_x)):
            pixels = read(y0, min(y0 + tile_px, height), x0, min(x0 + tile_px, width))
            expected = simplejpeg.decode_jpeg(encode_tile(tiles_of(pixels, tile_px)[0], options))
            expected = expected[: pixels.shape[0], : pixels.shape[1]].astype(np.int16)
            seen = slide.read(x0, y0, expected.shape[:2], slide.mpp)
            if np.abs(seen - expected).max() > DECODERS_DIFFER:
                raise RuntimeError(f"{path}: the tile at ({x0}, {y0}) is not what was written")
