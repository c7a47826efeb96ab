"""Cut patches from the regions of a slide that a person drew and classified."""

from __future__ import annotations

from pathlib import Path

from histogenesis.patches import regions as drawn
from histogenesis.recipe import RegionPatches
from histogenesis.slides.table import slide_path
from histogenesis.steps.inputs import say_of_cut


def cut_regions(
    *,
    record: Path,
    run_dir: Path,
    options: RegionPatches,
    out: Path,
    picture: Path,
    coords: Path,
    regions: str | None = None,
    seed: int = 1,
) -> None:
    """Cut patches from the regions of a slide that a person drew and classified (GeoJSON), at every mpp of a patch set.

    Beside them: coordinates that CLAM and TRIDENT read, and a picture of the places.

    record: the slide's record.json
    run_dir: the run's folder; phantoms lie there
    options: the recipe's section of this patch set
    out: {slide}.h5
    picture: where patches were cut, PNG
    coords: folder: {mpp}mpp/patches/ for CLAM and TRIDENT
    regions: GeoJSON, relative to the slide root; without it the slide has no regions
    seed: of random places
    """
    geojson = slide_path(regions, run_dir) if regions else None
    cut = drawn.cut_regions(record, run_dir, geojson, options, seed, out, picture, coords)
    say_of_cut(cut.slide, cut.error, cut.skipped, cut.cropped)
