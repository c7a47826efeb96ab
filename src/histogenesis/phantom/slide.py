"""A made-up slide: procedural H&E-like tissue of any size, with a known tissue mask.

Every pixel is a function of the options and its own position, so a phantom is painted in parts and never held whole. It is
a phantom and not a model: it tests and measures, and shows what the workflow does where there is no slide.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from histogenesis.core.files import written
from histogenesis.core.geometry import px_of_mm
from histogenesis.phantom.anatomy import Anatomy, Grid
from histogenesis.phantom.render import Painter
from histogenesis.recipe import Phantom, SlideFile
from histogenesis.slides.pyramid import write_pyramid
from histogenesis.slides.write import check_slide, who_made_it

MASK_MPP = 10.0
MASK_SAMPLES = 4  # of the outline, along each side of a mask pixel
PART_PX = 2048  # width of what is painted at once
FILE = SlideFile(tile_px=512, quality=89)


def size_px(options: Phantom) -> tuple[int, int]:
    """Height and width of level 0, in pixels."""
    return tuple(max(1, round(px_of_mm(n, options.mpp))) for n in (options.height_mm, options.width_mm))


def make_phantom(options: Phantom, out_tif: Path, out_mask_png: Path, threads: int | None = None) -> None:
    """Write the phantom as a pyramidal TIFF, and its tissue mask as PNG (0 and 255, at 10 um/px; holes are tissue).

    The mask's PNG text says its mpp. Memory is bounded whatever the size; same options, same bytes. OSError if the disk is
    full.
    """
    height, width = size_px(options)
    painter = Painter(options)
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:

        def read_rows(y0: int, y1: int) -> np.ndarray:
            parts = [(x, min(PART_PX, width - x)) for x in range(0, width, PART_PX)]
            return np.concatenate(
                list(pool.map(lambda part: painter.rgb(y0, part[0], y1 - y0, part[1]), parts)), axis=1
            )

        def check(path: Path) -> None:
            check_slide(
                path, lambda y0, y1, x0, x1: painter.rgb(y0, x0, y1 - y0, x1 - x0), (height, width), options.mpp, FILE
            )

        description = {"phantom": options.model_dump(mode="json"), "mpp": options.mpp, **who_made_it()}
        write_pyramid(
            read_rows, (height, width), options.mpp, Path(out_tif), FILE, description, check=check, threads=threads
        )
    _write_mask(tissue_mask(options), Path(out_mask_png), options)


def tissue_mask(options: Phantom, mpp: float = MASK_MPP) -> np.ndarray:
    """Where the tissue is, at `mpp`: (ceil(height), ceil(width)) bool, true where at least half of a pixel is tissue."""
    anatomy = Anatomy(options)
    height, width = (int(np.ceil(n / mpp - 1e-6)) for n in (anatomy.height_um, anatomy.width_um))
    mask = np.empty((height, width), bool)
    x_um = (np.arange(width * MASK_SAMPLES) + 0.5) * mpp / MASK_SAMPLES
    for top in range(0, height, 64):
        rows = min(64, height - top)
        y_um = (np.arange(top * MASK_SAMPLES, (top + rows) * MASK_SAMPLES) + 0.5) * mpp / MASK_SAMPLES
        inside = anatomy.outline_um(Grid(y_um, x_um)) > 0
        mask[top : top + rows] = inside.reshape(rows, MASK_SAMPLES, width, MASK_SAMPLES).mean(axis=(1, 3)) >= 0.5
    return mask


def _write_mask(mask: np.ndarray, out: Path, options: Phantom) -> None:
    text = PngInfo()
    text.add_text("mpp", f"{MASK_MPP:g}")
    text.add_text("synthetic", f"phantom {options.name}, by {who_made_it()['software']}")
    with written(out) as part:
        Image.fromarray(mask.astype(np.uint8) * 255).save(part, format="PNG", pnginfo=text)
