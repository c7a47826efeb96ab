"""Read labelled patches that were cut elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

from histogenesis.patches.labelled import read_labelled_set
from histogenesis.recipe import LabelledPatches
from histogenesis.slides.table import slide_path


def read_labelled(*, options: LabelledPatches, out: Path, seed: int = 1) -> None:
    """Read labelled patches that were cut elsewhere (image files, PatchCamelyon's HDF5, Kaggle's copy) into one patch file.

    Their centres are taken, and averaged down where the recipe asks for less. Raises BadInput for files that cannot be used.

    options: the recipe's section of this patch set
    out: {set}.h5
    seed: of the choice, where only some of each class are taken
    """
    cut = read_labelled_set(out.stem, slide_path(options.path), options, seed, out)
    labels = cut.texts["label"]
    counts = ", ".join(f"{labels.count(label)} {label}" for label in sorted(set(labels)))
    print(f"{cut.slide}: {len(labels)} patches ({counts}) in {len(set(cut.texts['group']))} groups")
    if not options.mpps:
        print(f"{cut.slide}: the mpp of these patches is not known; the recipe does not state it", file=sys.stderr)
