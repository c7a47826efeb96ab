"""The data gate, before training: what every level, model and class has to learn from, and what is held out of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histogenesis.core.errors import BadInput
from histogenesis.core.whole import load_json
from histogenesis.models.shipped import stain_of
from histogenesis.patches.gate import Counted, gate_data
from histogenesis.recipe import Phantom, Slides
from histogenesis.slides.table import rows_of
from histogenesis.tissue.files import write_text


def check_data(
    *,
    run_dir: Path,
    sets: dict[str, bool],
    needs: list[dict[str, Any]],
    limits: dict[str, Any],
    out: Path,
    table: str | None = None,
    phantoms: Sequence[Phantom] = (),
    brought: Sequence[tuple[str, str]] = (),
) -> None:
    """The data gate, before training: counts what every level, model and class has to learn from and what is held out of it.

    Every slide set aside, every warning and skipped mpp is in the JSON, with counts. Raises BadInput where what is drawn has
    nothing to learn from, with all that is missing; nothing is written then.

    run_dir: holds slides/, tissue/, patches/
    sets: patch set -> whether it is cut from slides
    needs: what the recipe asks of its data (recipe/needs.py)
    limits: the recipe's section `gate`
    out: data.json
    table: slides.tsv
    phantoms: the recipe's slides.phantoms
    brought: patch sets, each with a model from elsewhere: training on it starts from that, or it is what that draws beside
    """
    rows = rows_of(Slides(table=table, phantoms=list(phantoms)), run_dir.name)
    slides = [row.slide for row in rows]
    records = {name: load_json(run_dir / f"slides/{name}.json") for name in slides}
    qc = {name: load_json(run_dir / f"tissue/{name}/qc.json") for name in slides}
    counted = {}
    for name, from_slides in sets.items():
        folder = run_dir / "patches" / name
        files = [folder / f"{one}.h5" for one in (slides if from_slides else [name])]
        counted[name] = Counted(name, folder, (run_dir if from_slides else folder) / "splits.tsv", files)
    unstated = [row.slide for row in rows if not row.patient_stated]
    of_he = [patch_set for patch_set, model in brought if stain_of(model) == "H&E"]
    found = gate_data(records, qc, counted, needs, limits, unstated, of_he)
    for warning in found["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"data: {found['summary']}", file=sys.stderr)
    if found["errors"]:
        raise BadInput("the data do not hold what the recipe asks: " + " | ".join(found["errors"]))
    write_text(out, json.dumps(found, indent=1) + "\n")
