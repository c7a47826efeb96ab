"""Synthetic slides: their levels, and how each is drawn."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from histogenesis.recipe.base import Mpp, Name, Section
from histogenesis.recipe.fitting import check_drawing
from histogenesis.recipe.levels import AnyLevel, GivenLevel, Level
from histogenesis.recipe.problems import Together


class TissuePlan(Section):
    """Which part of level 0 is refined: tissue of z_0, found by FESI on an upsampled picture, and what else is stained."""

    method: Literal["fesi", "fesi-improved", "otsu", "all"] = Field(
        "fesi", description="as of `tissue`; `all`: the whole canvas is refined"
    )
    mpp: Mpp | None = Field(None, description="resolution of the segmentation; default: level 0's mpp over 4")
    margin_px: int = Field(2, ge=0, description="the tissue of the plan is grown by so many level 0 pixels")


class SlideFile(Section):
    """The pyramidal TIFF."""

    tile_px: Annotated[int, Field(gt=0, multiple_of=16, description="as TIFF wants it")] = 512
    quality: Annotated[int, Field(ge=1, le=100)] = Field(89, description="of the JPEG")
    subsampling: Literal["4:4:4", "4:2:0"] = Field(
        "4:4:4", description="of the JPEG's colours: `4:2:0` is smaller, and blurs them"
    )


class Synthetic(Section):
    """The synthetic slides, and the levels that each is drawn through."""

    slides: PositiveInt = Field(1, description="how many")
    prefix: Name = Field("synthetic", description="slides are called {prefix}_001, ...")
    levels: list[AnyLevel] = Field(min_length=1)
    plan: TissuePlan = TissuePlan()
    file: SlideFile = SlideFile()

    @property
    def drawn_mpps(self) -> dict[str, list[tuple[int, float]]]:
        """Of each model that draws: the levels' numbers, and the mpp at which it draws their tiles."""
        found: dict[str, list[tuple[int, float]]] = {}
        for k, level in [(k, one) for k, one in enumerate(self.levels) if isinstance(one, Level)]:
            for n, name in level.asked:
                found.setdefault(name, []).append((k, level.mpp * level.tile_px / level.networks[n].tile_px))
        return found

    @property
    def names(self) -> list[str]:
        return [f"{self.prefix}_{i + 1:03d}" for i in range(self.slides)]

    @model_validator(mode="after")
    def ladder(self):
        self.levels[0].check_first()
        if self.levels[0].size_px is None:
            raise ValueError("levels[0]: size_px is needed: [height, width] of the coarsest canvas")
        found = Together()
        for k, level in enumerate(self.levels):
            with found:
                self._check_level(k, level)
        found.end()
        return self

    def _check_level(self, k: int, level: AnyLevel) -> None:
        where = f"levels[{k}]"
        if k and isinstance(level, GivenLevel):
            raise ValueError(f"{where}: only level 0 can be given; nothing of the levels above it would be left")
        if k and level.mpp >= self.levels[k - 1].mpp:
            raise ValueError(f"{where}: mpp {level.mpp} is not finer than the level above ({self.levels[k - 1].mpp})")
        if level.doubles:
            if not math.isclose(self.levels[k - 1].mpp, 2 * level.mpp):
                raise ValueError(
                    f"{where}: `{level.doubles}` wants each level to double; {self.levels[k - 1].mpp} -> {level.mpp} mpp"
                    f" does not. Set mpp to {self.levels[k - 1].mpp / 2:g}, or choose another constraint"
                )
            if self.size_px(k) != tuple(2 * n for n in self.size_px(k - 1)):
                raise ValueError(f"{where}: size_px {self.size_px(k)} is not twice that of the level above")
        if isinstance(level, Level):
            check_drawing(where, level, self.size_px(k), self.size_px(k - 1) if k else None)

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
