"""Whether models that are there already can make what a recipe's levels want of them."""

from __future__ import annotations

from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.models.card import read_card
from histogenesis.recipe.fitting import check_network, learns
from histogenesis.recipe.levels import AnyLevel, Level
from histogenesis.recipe.models import Model


def check_learnt(models: Path, asked: dict[str, list[tuple[int, float]]]) -> None:
    """Raise BadInput where a model of a run has not learnt an mpp at which it is to draw; those not trained yet are left out.

    models: the folder of the run's models. asked: model -> (level, mpp), ... A recipe may ask for patches that no slide could
    give, as where all are smaller than a patch: what a model has seen is in its file.
    """
    for name, levels in asked.items():
        try:
            learnt = read_card(models / name)["mpps"]
        except FileNotFoundError:
            continue
        unlearnt = [f"{mpp:g} (level {k})" for k, mpp in levels if not learns(mpp, learnt)]
        if unlearnt:
            raise BadInput(
                f"{models / name}: it has learnt mpps {learnt} and never saw {', '.join(unlearnt)}: its slides gave no patches"
                " there. Use smaller patches, `whole_mpps`, wider slides, or leave that level out"
            )


def check_fits(folder: Path, facts: dict, level: AnyLevel, name: str | None = None, ratio: float | None = None) -> None:
    """Raise BadInput where a model that another run trained cannot make a level; `facts` is its model.json.

    name: what this recipe calls it (default: the level's model); ratio: of the mpp of the level above to this one's.
    """
    section = Model.model_validate(facts["section"])
    if section.denoises != level.from_noise:
        raise BadInput(f"{folder}: its objective is {section.objective.kind!r}, but the level wants {level.objectives}")
    if not isinstance(level, Level):
        return
    if "label" in section.conditions and level.label not in (None, *facts.get("classes", ())):
        raise BadInput(f"{folder}: it has not learnt class {level.label!r}; it knows {facts.get('classes') or 'none'}")
    for n in (n for n, one in level.asked if one == (name or level.model)):
        try:
            check_network(level, n, section, facts["mpps"], facts.get("context_ratio"), ratio)
        except ValueError as error:
            raise BadInput(f"{folder}: it {error}") from None
