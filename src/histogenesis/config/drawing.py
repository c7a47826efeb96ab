"""Synthetic slides: their levels, and how each is drawn."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, Tag, model_validator

from histogenesis.config.base import Fraction, Mpp, Name, Section, by_kind


class Threshold(Section):
    """Estimates of the clean image are kept within what a picture can be, at every evaluation (Saharia et al. 2022)."""

    kind: Literal["static", "dynamic"] = "dynamic"
    percentile: Annotated[float, Field(gt=0, le=1)] = Field(0.995, description="of the absolute values, for `dynamic`")


class EpsilonScaling(Section):
    """The predicted noise is divided by k t + b, t counting the sampler's steps down to 1 (Ning et al. 2024)."""

    k: float = 0.0
    b: PositiveFloat = Field(1.0, description="1 (with k = 0) changes nothing")


class Sampler(Section):
    """Which solver, over which noise levels."""

    kind: Literal["heun", "euler", "dpmpp-2m", "ddim", "ddpm"] = "heun"
    steps: PositiveInt = 18
    levels: Literal["karras", "schedule"] | None = Field(
        None,
        description="noise levels: sigma_min to sigma_max, or the steps of the model's own schedule; default: those, if any",
    )
    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0
    eta: Fraction | None = Field(None, description="of `ddim`: 0 (the default) is deterministic, 1 is ancestral")
    variance: Literal["posterior", "beta"] | None = Field(None, description="of `ddpm`; default: the posterior's")
    epsilon_scaling: EpsilonScaling | None = None
    threshold: Threshold | None = Field(None, description="default: estimates are taken as they are")

    @property
    def solver(self) -> dict:
        """What diffusion.samplers.stages takes."""
        return self.model_dump(exclude={"threshold", "epsilon_scaling"})

    @model_validator(mode="after")
    def belong_together(self):
        for key, kind in (("eta", "ddim"), ("variance", "ddpm")):
            if getattr(self, key) is not None and self.kind != kind:
                raise ValueError(f"`{key}` belongs to `kind: {kind}`, not to `{self.kind}`; leave it out")
        return self


class Relaxation(Section):
    """Where the null-space constraint lets go (Harb et al.): give exactly one of the two."""

    steps: int | None = Field(None, ge=0, description="the last r sampler steps run free; 0 is DDNM")
    sigma: float | None = Field(None, ge=0, description="steps at or below this noise level run free")

    @model_validator(mode="after")
    def one(self):
        if (self.steps is None) == (self.sigma is None):
            raise ValueError("relaxation: give either `steps` or `sigma`")
        return self


class NoConstraint(Section):
    kind: Literal["none"] = "none"


class NullSpace(Section):
    """Average pooling of this level gives the level above (Harb et al., eq. 21)."""

    kind: Literal["null-space"] = "null-space"
    relaxation: Relaxation = Relaxation(steps=0)


class GridShift(Section):
    """The tile grid moves at every sampler step, so that no border stays in one place (Harb et al.)."""

    kind: Literal["grid-shift"] = "grid-shift"


class Independent(Section):
    """Tiles that do not see each other: the baseline that shows what a joining is for."""

    kind: Literal["independent"] = "independent"


Constraint = Annotated[NoConstraint | NullSpace, Field(discriminator="kind")]
Joining = Annotated[GridShift | Independent, Field(discriminator="kind")]


class Level(Section):
    """One resolution of a synthetic slide; level 0 is the coarsest. Drawn by a model, from noise."""

    kind: Literal["draw"] = "draw"
    mpp: Mpp
    size_px: tuple[PositiveInt, PositiveInt] | None = Field(
        None, description="height, width of the canvas; default: that of the level above times the ratio of the mpps"
    )
    model: Name
    tile_px: PositiveInt
    batch: PositiveInt = Field(8, description="tiles per network evaluation: part of the recipe, as it rounds")
    constraint: Constraint = NoConstraint()
    joining: Joining = GridShift()
    sampler: Sampler = Sampler()
    label: str | None = Field(None, description="the class that a model with the condition `label` is told")
    guidance: NonNegativeFloat = Field(0.0, description="w of classifier-free guidance; 0 is the conditional model")
    precision: Literal["fp32", "bf16"] = "fp32"

    @property
    def tiling(self) -> dict:
        """What the measures of coherence must know."""
        return self.model_dump(mode="json", include={"tile_px", "joining", "constraint"})


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
    model: Name


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

    @property
    def model(self) -> str | None:
        return getattr(self.method, "model", None)

    @property
    def tiling(self) -> dict:
        """What the measures of coherence must know."""
        return {"tile_px": self.tile_px, "joining": {"kind": "margin"}, "constraint": {"kind": self.method.kind}}


AnyLevel = Annotated[
    Annotated[Level, Tag("draw")] | Annotated[UpscaledLevel, Tag("upscale")], by_kind("draw", "upscale")
]


class TissuePlan(Section):
    """Which part of level 0 is refined: tissue of z_0, found by FESI on an upsampled picture."""

    method: Literal["fesi", "fesi-improved", "otsu", "all"] = "fesi"
    mpp: Mpp | None = Field(None, description="resolution of the segmentation; default: level 0's mpp over 4")
    margin_px: int = Field(2, ge=0, description="the tissue of the plan is grown by so many level 0 pixels")


class SlideFile(Section):
    """The pyramidal TIFF."""

    tile_px: Annotated[int, Field(gt=0, multiple_of=16)] = 512
    quality: Annotated[int, Field(ge=1, le=100)] = 89
    subsampling: Literal["4:4:4", "4:2:0"] = "4:4:4"


class Synthetic(Section):
    """The synthetic slides, and the levels that each is drawn through."""

    slides: PositiveInt = Field(1, description="how many")
    prefix: Name = "synthetic"
    levels: list[AnyLevel] = Field(min_length=1)
    plan: TissuePlan = TissuePlan()
    file: SlideFile = SlideFile()

    @property
    def names(self) -> list[str]:
        return [f"{self.prefix}_{i + 1:03d}" for i in range(self.slides)]

    @model_validator(mode="after")
    def ladder(self):
        if self.levels[0].kind == "upscale":
            raise ValueError("levels[0]: nothing lies above it that could be upscaled; draw it with a model")
        if self.levels[0].size_px is None:
            raise ValueError("levels[0]: size_px is needed: [height, width] of the coarsest canvas")
        if self.levels[0].constraint.kind != "none":
            raise ValueError("levels[0]: nothing lies above it, so its constraint must be `kind: none`")
        for k, level in enumerate(self.levels):
            where = f"levels[{k}]"
            doubling = "upscale" if level.kind == "upscale" else level.constraint.kind
            if k and level.mpp >= self.levels[k - 1].mpp:
                raise ValueError(
                    f"{where}: mpp {level.mpp} is not finer than the level above ({self.levels[k - 1].mpp})"
                )
            if doubling in ("upscale", "null-space"):
                if not math.isclose(self.levels[k - 1].mpp, 2 * level.mpp):
                    raise ValueError(
                        f"{where}: `{doubling}` wants each level to double; {self.levels[k - 1].mpp} -> {level.mpp} mpp"
                        f" does not. Set mpp to {self.levels[k - 1].mpp / 2:g}, or choose another constraint"
                    )
                if self.size_px(k) != tuple(2 * n for n in self.size_px(k - 1)):
                    raise ValueError(f"{where}: size_px {self.size_px(k)} is not twice that of the level above")
            if level.kind == "draw":
                self._check_drawing(where, level, *self.size_px(k))
        return self

    @staticmethod
    def _check_drawing(where: str, level: Level, height: int, width: int) -> None:
        relaxation = getattr(level.constraint, "relaxation", None)
        if relaxation and relaxation.steps is not None and relaxation.steps >= level.sampler.steps:
            raise ValueError(
                f"{where}: a relaxation of {relaxation.steps} steps frees all {level.sampler.steps} steps; use at most"
                f" {level.sampler.steps - 1}"
            )
        if min(height, width) < level.tile_px:
            raise ValueError(
                f"{where}: the canvas {height} x {width} px is smaller than one tile of {level.tile_px} px"
            )

    def size_px(self, k: int) -> tuple[int, int]:
        """Height and width in px of level k's canvas."""
        if self.levels[k].size_px:
            return self.levels[k].size_px
        ratio = self.levels[k - 1].mpp / self.levels[k].mpp
        height, width = (n * ratio for n in self.size_px(k - 1))
        if abs(height - round(height)) > 1e-6 or abs(width - round(width)) > 1e-6:
            raise ValueError(
                f"levels[{k}]: the canvas would be {height:g} x {width:g} px: give size_px, or another mpp"
            )
        return round(height), round(width)
