"""Give a level: a region of a real slide as level 0, so that the levels below can be judged under a real one."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from histogenesis.canvas.canvas import BAND_PX, write_level
from histogenesis.models.shipped import stain_of
from histogenesis.patches.stain import HE_ALONE, unlike_he
from histogenesis.recipe import GivenLevel
from histogenesis.slides.read import Slide
from histogenesis.slides.table import open_record
from histogenesis.tissue.files import load_tissue

LOOKED_AT_PX = 1024  # pixels of a level's longer side whose stain is looked at


def give_level(
    *, record: Path, run_dir: Path, tissue: Path, options: GivenLevel, slide: str, out: Path, models: Sequence[str] = ()
) -> None:
    """Give level 0 of a synthetic slide: a region of a real slide at the recipe's mpp, under which the levels below are drawn.

    The file's attribute `synthetic` is False. Warns of a region that does not look like H&E, if a model has seen nothing else.
    Raises BadInput for a slide that was set aside, and for an mpp finer than its own.

    record: the real slide's record.json
    run_dir: the run's folder; phantoms lie there
    tissue: the real slide's tissue folder
    options: the recipe's section of this level
    slide: the synthetic slide's name
    out: level0.h5
    models: those from elsewhere that draw below it, by name or folder
    """
    with open_record(record, run_dir) as real:
        background = load_tissue(tissue).background
        facts = {"mpp": options.mpp, "level": 0, "slide": slide, "model": "", "background": background}
        facts |= {"drawn": 1.0, "synthetic": False, "given": options.slide}
        seen: list[np.ndarray] = []
        write_level(out, _noting(seen, region(real, options, background), options), *options.size_px, facts)
    if any(stain_of(model) == "H&E" for model in models) and (why := unlike_he(np.concatenate(seen))):
        print(f"warning: {options.slide}: {why}; {HE_ALONE}", file=sys.stderr)


def _noting(
    seen: list[np.ndarray], bands: Iterator[tuple[int, np.ndarray]], options: GivenLevel
) -> Iterator[tuple[int, np.ndarray]]:
    """The same bands; every so many pixels of them are put into `seen`."""
    step = -(-max(options.size_px) // LOOKED_AT_PX)
    for y, band in bands:
        seen.append(band[::step, ::step].copy())
        yield y, band


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
