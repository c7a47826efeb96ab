"""Levels of a synthetic slide: drawn by a model, upscaled by a baseline, or given."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, Tag, model_validator

from histogenesis.canvas.constraints import Averaged
from histogenesis.recipe.base import NO_BYTES, Fraction, Mpp, Name, Section, SkipBackground, by_kind
from histogenesis.recipe.composing import (
    Constraint,
    GridShift,
    Joining,
    NoConstraint,
    Relaxation,
    Sampler,
    Start,
    check_guided,
    released,
)


class CascadeStage(Section):
    """A network of a cascade inside a tile: it draws the whole tile in fewer pixels."""

    model: Name = Field(description="its name among `models`")
    tile_px: PositiveInt = Field(description="height and width of the tile in this network's pixels")
    sampler: Sampler = Sampler()


class Level(Section):
    """One resolution of a synthetic slide; level 0 is the coarsest. Drawn by a model, from noise."""

    kind: Literal["draw"] = "draw"
    mpp: Mpp
    size_px: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="height, width of the canvas; default: that of the level above times the ratio of the mpps"
    )
    model: Name = Field(
        description="the model that draws it (the last network, with `cascade`): its name among `models`"
    )
    tile_px: PositiveInt = Field(
        description="height and width of the window that the network sees at once, px of this level"
    )
    batch: PositiveInt = Field(8, description="tiles per network evaluation: part of the recipe, as it rounds")
    constraint: Constraint = NoConstraint()
    joining: Joining = GridShift()
    sampler: Sampler = Sampler()
    start: Start | None = Field(None, description="default: from noise alone, at the sampler's first noise level")
    label: str | None = Field(None, description="the class that models with the condition `label` are told")
    guidance: NonNegativeFloat = Field(
        0.0, description="w of classifier-free guidance, or away from the `weaker` model; 0 is the conditional model"
    )
    weaker: Name | None = Field(
        None,
        description="a model that knows the same slides less well (smaller, or trained for less long), of which `guidance`"
        " leads away: (1 + w) D - w D of the weaker one (Karras et al. 2024)",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="of the network's arithmetic: `bf16` is faster on a GPU, and a CPU that lacks it takes `fp32`;"
        " part of the recipe, as it rounds",
    )
    state: Literal["fp32", "bf16"] = Field(
        "fp32", description="precision of the canvas between two steps; bf16 takes half the memory, and rounds"
    )
    gpus: Annotated[PositiveInt, NO_BYTES] = Field(
        1, description="GPUs of one node that draw the level together, a band of it each; without GPUs, processes"
    )
    cpu_processes: Annotated[PositiveInt, NO_BYTES] = Field(
        1, description="where there is no GPU, so many processes (or `gpus`, if that is more) draw the level together"
    )
    cascade: list[CascadeStage] = Field(
        [],
        description="networks that draw the tile smaller first; each next one, and at last `model`, enlarges (`lowres`)",
    )
    lowres_noise: Fraction = Field(0.2, description="noise on the low-resolution pictures that networks see")
    skip_background: SkipBackground | None = Field(
        None, description="tiles that are mostly white in the level above are not drawn, but enlarged from it"
    )

    from_noise: ClassVar[bool] = True
    objectives: ClassVar[str] = "'edm', 'flow', 'eps', 'v' or 'x0'"  # of the models that can make it

    @model_validator(mode="after")
    def guidance_is_somewhere(self):
        check_guided(self.sampler, self.guidance)
        if self.weaker and not self.guidance:
            raise ValueError("weaker: there is no `guidance` away from it; set its w, as 1, or leave `weaker` out")
        if self.weaker and self.cascade:
            raise ValueError("weaker: a cascade's networks are of several kinds; leave `cascade` or `weaker` out")
        if self.weaker == self.model:
            raise ValueError("weaker: it is the model itself, and guides nowhere; name one that knows less")
        return self

    @model_validator(mode="after")
    def keep_the_release_as_a_noise_level(self):
        if not isinstance(self.constraint, Averaged) or self.constraint.relaxation.steps is None:
            return self
        sigma = released(self.constraint.relaxation.steps, self.sampler, self.start)
        kept = type(self.constraint)(relaxation=Relaxation(sigma=sigma))
        return self.model_copy(update={"constraint": kept})

    @property
    def networks(self) -> list[CascadeStage]:
        """The networks that draw a tile, from the smallest to the one that decides."""
        return [*self.cascade, CascadeStage(model=self.model, tile_px=self.tile_px, sampler=self.sampler)]

    @property
    def asked(self) -> list[tuple[int, str]]:
        """Each model that it asks, with the place among `networks` that it has or, as the weaker one, guides."""
        own = [network.model for network in self.networks]
        return [*enumerate(own), *([(len(own) - 1, self.weaker)] if self.weaker else [])]

    @property
    def models(self) -> list[str]:
        return [name for _, name in self.asked]

    @property
    def doubles(self) -> str:
        """What of it wants the level above to have half of its px; "": nothing does."""
        return self.constraint.kind if self.constraint.doubles else ""

    @property
    def words(self) -> str:
        """How it is made, for tables that compare runs."""
        return f"drawn, {self.constraint.words}" + (f", {self.joining.kind}" if self.tile_by_tile else "")

    def check_first(self) -> None:
        """Raises ValueError where it cannot be level 0."""
        if self.constraint.follows:
            raise ValueError("levels[0]: nothing lies above it, so its constraint must be `kind: none`")

    @property
    def tile_by_tile(self) -> bool:
        """Whether each tile is drawn to its end before its neighbours, and not all of them step by step."""
        return not self.joining.at_every_step or bool(self.cascade) or self.skip_background is not None

    @property
    def stride_px(self) -> int:
        """From one tile to the next."""
        return self.joining.stride_px or self.tile_px

    @property
    def tiling(self) -> dict:
        """What the measures of coherence must know."""
        return {
            "tile_px": self.tile_px,
            **self.model_dump(mode="json", include={"joining", "constraint"}, exclude={"joining": {"jobs"}}),
        }


class Bicubic(Section):
    """Interpolation by cubic convolution (Keys 1981)."""

    kind: Literal["bicubic"]


class TVL1(Section):
    """TV-L1 super-resolution: least total variation among pictures whose average pooling is near the level above."""

    kind: Literal["tv-l1"]
    fidelity: PositiveFloat = Field(
        2.5, description="lambda, per pixel of this level: from 2 on, even a single pixel of the level above survives"
    )
    iterations: PositiveInt = Field(200, description="of the primal-dual method (Chambolle and Pock 2011)")


class Learned(Section):
    """A model with the objective `super-resolution`."""

    kind: Literal["edsr"]
    model: Name = Field(description="its name among `models`")


class UpscaledLevel(Section):
    """A level made from the one above by a baseline, without noise: what drawing it with a model is compared with."""

    kind: Literal["upscale"]
    mpp: Mpp
    size_px: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="height, width; default: twice the level above"
    )
    method: Annotated[Bicubic | TVL1 | Learned, Field(discriminator="kind")]
    tile_px: Annotated[int, Field(ge=16, multiple_of=2)] = Field(
        512, description="px of this level that are made at once, each tile with a margin, so that no seam shows"
    )

    from_noise: ClassVar[bool] = False
    objectives: ClassVar[str] = "'super-resolution'"
    doubles: ClassVar[str] = "upscale"

    def check_first(self) -> None:
        raise ValueError("levels[0]: nothing lies above it that could be upscaled; draw it with a model")

    @property
    def words(self) -> str:
        return self.method.kind

    @property
    def model(self) -> str | None:
        return getattr(self.method, "model", None)

    @property
    def models(self) -> list[str]:
        return [self.model] if self.model else []

    @property
    def tiling(self) -> dict:
        """What the measures of coherence must know."""
        return {"tile_px": self.tile_px, "joining": {"kind": "margin"}, "constraint": {"kind": self.method.kind}}


class GivenLevel(Section):
    """A level 0 that is no drawing: a region of a real slide. What is drawn below it can be judged by itself, and redraws the
    cells of that slide under its own layout. Take a slide that is held out: a model knows those that it has learned from."""

    kind: Literal["given"]
    slide: Name = Field(description="of the slide table, or a phantom")
    mpp: Mpp = Field(description="not finer than the slide's own")
    size_px: tuple[PositiveInt, PositiveInt] = Field(
        description="height, width at this mpp; where it leaves the slide, background: so a whole slide fits in any size"
    )
    corner_um: tuple[float, float] | None = Field(
        None,
        description="y, x of the region's top left corner, from the slide's; default: the region lies about the slide's centre",
    )
    model: ClassVar[None] = None
    from_noise: ClassVar[bool] = False
    objectives: ClassVar[str] = "none"
    doubles: ClassVar[str] = ""
    words: ClassVar[str] = "given"

    def check_first(self) -> None:
        """Level 0 is what it is for."""

    @property
    def models(self) -> list[str]:
        return []

    @property
    def tiling(self) -> dict:
        """What the measures of coherence must know: there are no lines between tiles."""
        return {"tile_px": max(self.size_px), "joining": {"kind": "given"}, "constraint": {"kind": "none"}}


AnyLevel = Annotated[
    Annotated[Level, Tag("draw")] | Annotated[UpscaledLevel, Tag("upscale")] | Annotated[GivenLevel, Tag("given")],
    by_kind("draw", "upscale", "given"),
]
