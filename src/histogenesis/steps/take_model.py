"""Take a model that another run has trained, or one that ships."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from histogenesis.core.files import written
from histogenesis.models.card import read_card
from histogenesis.models.model import load_model
from histogenesis.models.shipped import FILES, folder_of
from histogenesis.recipe import AnyLevel
from histogenesis.recipe.imported import check_fits


def take_model(*, model: str, out: Path, levels: Sequence[tuple[AnyLevel, float | None]] = ()) -> None:
    """Take a model that another run has trained: its two files are copied as they are, after a look whether they fit.

    Raises BadInput, in one line, for what it does not have yet: weights, or the mpps that this recipe draws.

    model: the model's folder in the other run, or a model that ships
    out: the model's folder in this run
    levels: those that it draws here: a level's section, and the ratio of the mpp above to its own
    """
    folder = folder_of(model)
    load_model(folder)
    card = read_card(folder)
    for level, ratio in levels:
        check_fits(folder, card, level, out.name, ratio)
    for name in FILES:
        with written(out / name) as part:
            shutil.copyfile(folder / name, part)
