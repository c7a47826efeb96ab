"""What a recipe asks of its data: which patch set must have which mpps and classes, for which model and level."""

from __future__ import annotations

from histogenesis.core.geometry import same_mpp
from histogenesis.recipe.levels import Level
from histogenesis.recipe.recipe import Recipe


def needs_of(recipe: Recipe) -> list[dict]:
    """One entry for each model, mpp and class: model, patch_set, mpp, class, levels (that draw it), drawn (whether anything
    does), told (whether it is told a class and learns all that there are).

    mpp is None for patches that do not state theirs, class where the recipe names none. A model of one mpp that draws no level
    draws patches. Of models from elsewhere nothing is asked. Entries whose model is None: what levels are compared with.
    """
    found = []
    for name, model in (recipe.trained_models | recipe.winner_models).items():
        levels = _levels(recipe, name)
        mpps = recipe.patches[model.patches].mpps or [None]
        told = "label" in getattr(model, "conditions", [])
        for mpp in mpps:
            drawn_by = [k for k, at in levels if mpp is not None and same_mpp(at, mpp)]
            for label in model.classes or [None]:
                entry = {"model": name, "patch_set": model.patches, "mpp": mpp, "class": label, "levels": drawn_by}
                drawn = bool(drawn_by) or (not levels and len(mpps) == 1)
                found.append(entry | {"drawn": drawn, "told": told and not model.classes})
    compared = recipe.compared_patches if recipe.synthetic else None
    for k, level in enumerate(recipe.synthetic.levels if compared else []):
        for mpp in (mpp for mpp in recipe.patches[compared].mpps if same_mpp(level.mpp, mpp)):
            at = {"model": None, "patch_set": compared, "mpp": mpp, "class": None}
            found.append(at | {"levels": [k], "drawn": False, "told": False})
    return found


def _levels(recipe: Recipe, model: str) -> list[tuple[int, float]]:
    """The levels that a model draws, each with the mpp at which it sees it."""
    return [
        (k, level.mpp * level.tile_px / network.tile_px)
        for k, level in enumerate(recipe.synthetic.levels if recipe.synthetic else [])
        if isinstance(level, Level)
        for network in level.networks
        if network.model == model
    ]
