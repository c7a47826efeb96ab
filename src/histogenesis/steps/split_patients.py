"""Choose what is held out: whole patients, or a part of each slide."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from histogenesis.core.whole import load_json
from histogenesis.patches.splits import check_copies, split_slides, write_splits
from histogenesis.recipe import Phantom, Slides, Split
from histogenesis.slides.table import rows_of
from histogenesis.tissue.files import load_tissue


def split_patients(
    *,
    records: Path,
    run: str,
    out: Path,
    table: str | None = None,
    phantoms: Sequence[Phantom] = (),
    tissue: Path | None = None,
    options: Split = Split(),
) -> None:
    """Choose what is held out, whole patients or a part of each slide, and write splits.tsv.

    Slides that were set aside are left out; a split that the slide table names wins. Raises BadInput for what cannot be split.

    records: folder of {slide}.json
    run: the run's name
    out: splits.tsv
    table: slides.tsv
    phantoms: the recipe's slides.phantoms
    tissue: folder of {slide}/mask.png, to cut regions at a share of the tissue
    options: the recipe's section `split`
    """
    rows = rows_of(Slides(table=table, phantoms=list(phantoms)), run)
    recorded = {row.slide: load_json(records / f"{row.slide}.json") for row in rows}
    set_aside = {slide for slide, record in recorded.items() if record["error"]}
    masks = {row.slide: load_tissue(tissue / row.slide).mask for row in rows} if tissue else {}
    entries = split_slides(rows, options, set_aside, masks)
    for warning in check_copies(rows, entries, recorded):
        print(f"warning: {warning}", file=sys.stderr)
    write_splits(out, entries)
