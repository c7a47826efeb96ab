"""Tell a slide's tissue from its background."""

from __future__ import annotations

import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.recipe import Tissue
from histogenesis.slides.table import slide_path
from histogenesis.tissue.files import segment_slide


def segment_tissue(
    *,
    record: Path,
    run_dir: Path,
    out_dir: Path,
    options: Tissue = Tissue(),
    edited: str | None = None,
    stop_on_bad: bool = False,
) -> None:
    """Tell a slide's tissue from its background: mask.png, tissue.geojson, overlay.png, qc.json.

    A GeoJSON that a person drew or corrected takes the place of the computed mask. Raises BadInput for one that cannot be used
    where that is to stop, and sets the slide aside otherwise.

    record: the slide's record.json
    run_dir: the run's folder; phantoms lie there
    out_dir: where the four files go
    options: the recipe's section `tissue`
    edited: GeoJSON from QuPath, in full-resolution pixels; its path is read as a slide's is
    stop_on_bad: a GeoJSON that cannot be used is an error
    """
    drawn = slide_path(edited, run_dir) if edited else None
    qc = segment_slide(record, run_dir, options, out_dir, drawn)
    if qc["error"]:
        if stop_on_bad:
            raise BadInput(qc["error"])
        print(f"set aside: {qc['error']}", file=sys.stderr)
    for warning in qc["warnings"]:
        print(f"{qc['slide']}: {warning}", file=sys.stderr)
