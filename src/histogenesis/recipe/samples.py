"""Patches drawn by models or brought from elsewhere; studies: grids of a recipe's values, with sections of their own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, NonNegativeFloat, PositiveInt, Tag, model_validator

from histogenesis.recipe.base import NO_BYTES, Fraction, Mpp, Name, Section
from histogenesis.recipe.composing import Sampler, check_guided
from histogenesis.recipe.levels import CascadeStage


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
    cascade: list[CascadeStage] = Field(
        [],
        description="networks that draw the patch smaller first; each next one, and at last `model`, enlarges (`lowres`):"
        " patches of URCDM's LRDM",
    )
    lowres_noise: Fraction = Field(0.2, description="noise on the low-resolution pictures that networks see")
    batch: PositiveInt = Field(64, description="images per network evaluation: part of the recipe, as it rounds")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of the network's arithmetic; part of the recipe, as it rounds"
    )
    seed: int = Field(1, description="of the noise")
    tstr: bool = Field(True, description="a classifier learns from them, where `evaluation.tstr` says how")
    compare: Name | None = Field(
        None, description="the patch set whose held-out patches they are compared with; default: the model's"
    )

    @property
    def networks(self) -> list[tuple[str, int | None, Sampler]]:
        """Model, px (None: as its patches) and sampler of each network, from the smallest to the one that decides."""
        own = (self.model, self.size_px, self.sampler)
        return [*((one.model, one.tile_px, one.sampler) for one in self.cascade), own]

    @model_validator(mode="after")
    def guidance_is_somewhere(self):
        check_guided(self.sampler, self.guidance)
        return self


class BroughtSamples(Section):
    """Patches that another generator has made, or slides, from which patches are taken: judged as if a model here had drawn
    them, copies of the training patches included."""

    folder: Annotated[str | None, NO_BYTES] = Field(
        None, min_length=1, description="of image files, with a subfolder for each class where `classes` are named"
    )
    slides: Annotated[str | None, NO_BYTES] = Field(
        None,
        min_length=1,
        description="one slide, or a folder of some: patches are taken at random where there is tissue",
    )
    compare: Name = Field(
        description="the patch set that they are compared with, at its size: larger images give several patches side by side"
    )
    mpp: Mpp | None = Field(
        None, description="of the images, or at which slides are read; default: the finest of `compare`"
    )
    images: PositiveInt = Field(256, description="at most so many; of each class, where they have some")
    classes: list[str] | None = Field(None, description="names of subfolders; default: they are all of one kind")
    min_tissue: Fraction = Field(0.5, description="of a patch from a slide: share of it that is not glass")
    tstr: bool = Field(True, description="a classifier learns from them, where `evaluation.tstr` says how")
    seed: int = Field(1, description="of which are taken")

    @model_validator(mode="after")
    def one_of_both(self):
        if bool(self.folder) == bool(self.slides):
            raise ValueError("give either `folder` (of images) or `slides` (a slide, or a folder of some)")
        if self.slides and self.classes:
            raise ValueError("patches that are taken from slides have no classes: leave `classes` out")
        return self

    @property
    def source(self) -> str:
        """Where they lie."""
        return self.folder or self.slides


BROUGHT = {"folder", "slides"}  # keys that say that no model draws them
AnySamples = Annotated[
    Annotated[Samples, Tag("drawn")] | Annotated[BroughtSamples, Tag("brought")],
    Discriminator(
        lambda v: "brought" if isinstance(v, BroughtSamples) or (isinstance(v, dict) and BROUGHT & set(v)) else "drawn"
    ),
]


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
