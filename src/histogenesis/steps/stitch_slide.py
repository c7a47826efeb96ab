"""Turn the finest canvas of a synthetic slide into a pyramidal TIFF."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histogenesis.recipe import SlideFile
from histogenesis.slides.write import write_slide

NOTHING: Mapping[str, Any] = {}


def stitch_slide(
    *,
    level: Path,
    out: Path,
    options: SlideFile = SlideFile(),
    provenance: Mapping[str, Any] = NOTHING,
    threads: int | None = None,
) -> None:
    """Turn the finest canvas of a synthetic slide into a pyramidal TIFF that opens in QuPath.

    The slide is reopened with OpenSlide and checked (size, levels, mpp, pixels) before it takes its name. Raises BadInput for a
    canvas that cannot be read, DiskFull with how much is needed.

    level: canvas of the finest level, HDF5
    out: the slide, .tif
    options: the recipe's section `synthetic.file`
    provenance: run, model and so on: written into the slide
    threads: threads that encode; default: all cores that the job may use
    """
    print(json.dumps(write_slide(level, out, options, dict(provenance), threads)))
