"""Give a level: a region of a real slide as level 0, so that the levels below can be judged under a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from histogenesis.canvas.canvas import BAND_PX, write_level
from histogenesis.recipe import GivenLevel
from histogenesis.slides.read import Slide
from histogenesis.slides.table import open_record
from histogenesis.tissue.files import load_tissue


def give_level(*, record: Path, run_dir: Path, tissue: Path, options: GivenLevel, slide: str, out: Path) -> None:
    """Give level 0 of a synthetic slide: a region of a real slide at the recipe's mpp, under which the levels below are drawn.

    The file's attribute `synthetic` is False. Raises BadInput for a slide that was set aside, and for an mpp finer than its
    own.

    record: the real slide's record.json
    run_dir: the run's folder; phantoms lie there
    tissue: the real slide's tissue folder
    options: the recipe's section of this level
    slide: the synthetic slide's name
    out: level0.h5
    """
    with open_record(record, run_dir) as real:
        background = load_tissue(tissue).background
        facts = {"mpp": options.mpp, "level": 0, "slide": slide, "model": "", "background": background}
        facts |= {"drawn": 1.0, "synthetic": False, "given": options.slide}
        write_level(out, region(real, options, background), *options.size_px, facts)


def region(real: Slide, section: GivenLevel, background: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Band by band: y and uint8 (h, W, 3). Pixels whose centre lies outside the slide have the background's colour."""
    (height, width), scale = section.size_px, section.mpp / real.mpp
    if section.corner_um is None:
        top, left = (real.height_px - height * scale) / 2, (real.width_px - width * scale) / 2
    else:
        top, left = (um / real.mpp for um in section.corner_um)
    x = left + (np.arange(width) + 0.5) * scale
    for first in range(0, height, BAND_PX):
        rows = min(BAND_PX, height - first)
        band = real.read(left, top + first * scale, (rows, width), section.mpp)
        y = top + (first + np.arange(rows) + 0.5) * scale
        band[(y < 0) | (y > real.height_px)] = background
        band[:, (x < 0) | (x > real.width_px)] = background
        yield first, band
