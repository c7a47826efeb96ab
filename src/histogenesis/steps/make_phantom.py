"""Make a phantom: a slide whose tissue is known."""

from __future__ import annotations

from pathlib import Path

from histogenesis.phantom import slide as procedural
from histogenesis.recipe import Phantom


def make_phantom(*, options: Phantom, slide: Path, mask: Path, threads: int | None = None) -> None:
    """Make a phantom: a procedural H&E-like slide (pyramidal TIFF) with a known tissue mask (PNG, 10 um/px).

    The same options give the same bytes. Raises DiskFull, with how much is needed.

    options: one entry of the recipe's slides.phantoms
    slide: the slide, .tif
    mask: the tissue mask, .png
    threads: default: all cores that the job may use
    """
    procedural.make_phantom(options, slide, mask, threads)
