"""Gather the evaluations of a study's combinations into one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from histogenesis.evaluation.files import write_json
from histogenesis.evaluation.study_table import choose_winner, study_table, write_study
from histogenesis.recipe import Cell, Winner

NO_MODELS: Mapping[str, Any] = {}


def gather_study(
    *,
    evaluation: Path,
    cells: Sequence[Cell],
    out: Path,
    winner: Winner | None = None,
    models: Mapping[str, Any] = NO_MODELS,
    arms: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Gather the evaluations of a study's combinations into one table with intervals over seeds, a picture, and the winner.

    evaluation: folder of {samples}/metrics.json
    cells: the study's combinations
    out: folder of the results
    winner: the recipe's section study.winner; without it there is no winner.json
    models: the sections of the combinations' models
    arms: what each two options of an axis differ in (recipe/arms.py), which is written to arms.json
    """
    rows = study_table(list(cells), evaluation)
    write_study(out, rows)
    write_json(out / "arms.json", list(arms))
    if winner:
        found = choose_winner(rows, list(cells), dict(models), winner)
        write_json(out / "winner.json", found)
        print(f"winner: {found['combination']} ({found['judged_by']['metric']} {found['value']:.4g})")
