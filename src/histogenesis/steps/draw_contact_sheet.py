"""A contact sheet: real patches above synthetic ones."""

from __future__ import annotations

from pathlib import Path

from histogenesis.core.files import written
from histogenesis.recipe import Evaluation
from histogenesis.report import contact


def draw_contact_sheet(
    *,
    patches: Path,
    splits: Path,
    levels_dir: Path,
    seed: int,
    out: Path,
    options: Evaluation = Evaluation(),
    min_tissue: float = 0.1,
) -> None:
    """A contact sheet: rows of held-out real patches above rows of synthetic ones, one pair for each level's mpp.

    Reads a patch set, splits.tsv, and the levels and plan.png of one synthetic slide.

    patches: folder of a patch set, one HDF5 file a slide
    splits: splits.tsv
    levels_dir: folder of level0.h5, ... and plan.png
    seed: of random places
    out: contact.png
    options: the recipe's section `evaluation`
    min_tissue: the patch set's: synthetic patches keep to it too
    """
    sheet = contact.draw_contact_sheet(patches, splits, levels_dir, options.contact_sheet, seed, min_tissue)
    with written(out) as part:
        sheet.save(part, "png")
