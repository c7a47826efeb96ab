"""Patches drawn by models, and studies: grids of a recipe's values, each combination with models and samples of its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from histogenesis.recipe.base import Mpp, Name, Section
from histogenesis.recipe.composing import check_guided
from histogenesis.recipe.drawing import Sampler


class Samples(Section):
    """Patches drawn by one model, each from noise of its own, and compared with real ones that were held out."""

    model: Name = Field(description="the model that draws them: its name among `models`")
    images: PositiveInt = Field(256, description="how many; of each class, where the model is told one")
    classes: list[str] | None = Field(None, description="classes to draw; default: all that the model has learnt")
    guidance: NonNegativeFloat = Field(
        0.0, description="w of classifier-free guidance, (1 + w) eps(x, c) - w eps(x); 0 is the conditional model"
    )
    mpp: Mpp | None = Field(None, description="default: the finest of the model's patch set")
    size_px: PositiveInt | None = Field(
        None, description="default: that of the model's patches; another size shows another field of view"
    )
    sampler: Sampler = Sampler()
    batch: PositiveInt = Field(64, description="images per network evaluation: part of the recipe, as it rounds")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of the network's arithmetic; part of the recipe, as it rounds"
    )
    seed: int = Field(1, description="of the noise")
    compare: Name | None = Field(
        None, description="the patch set whose held-out patches they are compared with; default: the model's"
    )

    @model_validator(mode="after")
    def guidance_is_somewhere(self):
        check_guided(self.sampler, self.guidance)
        return self


class Winner(Section):
    """Which combination is best: the mean over seeds of one number decides, whatever the intervals say of it."""

    metric: Literal["fid", "kid", "ssim", "likelihood", "coverage", "precision", "recall"] = Field(
        "kid", description="the number that is compared: the best is the least of fid and kid, the most of the others"
    )
    encoder: str = Field("efficientnet-lite0", description="`pixels` for ssim and likelihood")
    samples: Name = Field(description="the samples (of the grid) that are compared")


class Cell(Section):
    """One combination of a study's values with one seed. For each samples of the recipe: the variant that is drawn, its model,
    and the name of the combination as far as it bears on them."""

    values: dict[str, str] = Field(description="the option of each axis")
    seed: int = Field(description="of this repetition")
    samples: dict[Name, Name] = Field(description="samples of the recipe -> their variant")
    models: dict[Name, Name] = Field(description="samples of the recipe -> the variant of their model")
    names: dict[Name, str] = Field(
        description="samples of the recipe -> the name of the combination as far as it bears on them"
    )


class Study(Section):
    """Values of the recipe that are varied, each combination with several seeds; see recipe/grid.py."""

    grid: dict[str, list[Any] | dict[str, Any]] = Field(
        default_factory=dict,
        description="key of patches, models or samples (as models.ddpm.objective.schedule) -> its values, or names for them"
        " ({none: [], self: [32]}); or a name of your own -> names -> several keys and values that change together",
    )
    seeds: PositiveInt = Field(1, description="trainings and samples of each combination; intervals are over these")
    winner: Winner | None = None
    cells: list[Cell] = Field(default_factory=list, description="what the grid stands for; filled in, not written")
