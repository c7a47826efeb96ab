"""Cut a slide's patches, at every mpp of a patch set, where there is enough tissue."""

from __future__ import annotations

from pathlib import Path

from histogenesis.patches.cut import cut_slide
from histogenesis.recipe import PatchSet
from histogenesis.steps.inputs import say_of_cut


def cut_patches(
    *,
    record: Path,
    run_dir: Path,
    tissue: Path,
    options: PatchSet,
    out: Path,
    picture: Path,
    coords: Path,
    label: str | None = None,
    seed: int = 1,
) -> None:
    """Cut a slide's patches at every mpp of a patch set into one HDF5 file, where there is enough tissue.

    Beside it: coordinates that CLAM and TRIDENT read, and a picture of the places. A slide that was set aside gives an empty
    file that says why.

    record: the slide's record.json
    run_dir: the run's folder; phantoms lie there
    tissue: the slide's tissue folder
    options: the recipe's section of this patch set
    out: {slide}.h5
    picture: where patches were cut, PNG
    coords: folder: {mpp}mpp/patches/ for CLAM and TRIDENT
    label: the class of the slide, and so of each patch
    seed: of random places
    """
    cut = cut_slide(record, run_dir, tissue, options, seed, out, picture, coords, label)
    say_of_cut(cut.slide, cut.error, cut.skipped, cut.cropped)
