"""Slides, what is held out, tissue, patch sets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from histogenesis.config.base import Fraction, Mpp, Name, Section, White


class Phantom(Section):
    """A made-up slide: procedural H&E-like tissue with a known mask."""

    name: Name
    seed: int = 1
    width_mm: PositiveFloat = 4.0
    height_mm: PositiveFloat = 3.0
    mpp: Mpp = 1.0
    patient: Name | None = Field(None, description="default: the slide's own name")
    pen_mark: bool = True
    dust: bool = True


class Slides(Section):
    """Where the slides are."""

    table: str | None = Field(None, description="slides.tsv: slide, path, patient [mpp, label, split, sha256, tissue]")
    root: str = Field(".", description="paths in the table are relative to this; HISTOGENESIS_SLIDE_ROOT overrides it")
    phantoms: list[Phantom] = Field(
        default_factory=list, description="made-up slides, besides or in place of the table"
    )
    on_bad: Literal["set_aside", "stop"] = Field(
        "set_aside", description="a slide that cannot be used is listed in the report, or ends the run"
    )

    @model_validator(mode="after")
    def some_slides(self):
        if not self.table and not self.phantoms:
            raise ValueError("no slides: give `table: path/to/slides.tsv`, or `phantoms:`")
        return self


class Split(Section):
    """What is held out. By patient, always; by region only when there is a single patient, and the report says so."""

    by: Literal["patient", "region"] = "patient"
    validation: Fraction = Field(0.2, description="fraction of patients (or of the slide's width) that is held out")
    seed: int = 1


class Tissue(Section):
    """How tissue is told from background."""

    method: Literal["fesi", "fesi-improved", "histolab", "otsu"] = "fesi"
    mpp: Mpp = Field(10.0, description="resolution of the mask")
    border_background: bool = Field(True, description="every background part that touches the border is background")
    guard: bool = Field(True, description="refuse to split pure background or a picture that is all tissue")
    min_area_mm2: float = Field(0.0, ge=0, description="tissue parts smaller than this are dropped")


class PatchSet(Section):
    """Patches of one size at stated mpps, from many slides."""

    size_px: PositiveInt
    mpps: list[Mpp] = Field(min_length=1)
    min_tissue: Fraction = 0.1
    per_slide: PositiveInt = Field(500, description="at most so many patches of a slide at each mpp")
    placement: Literal["grid", "random", "whole"] = Field(
        "random", description="`whole`: one patch about the slide's centre, padded with background where the slide ends"
    )
    context_ratio: Annotated[float, Field(gt=1)] | None = Field(
        None, description="beside each patch, the view about its centre that is so many times as wide, in as many px"
    )
    white: White | None = Field(None, description="patches that are mostly white are left out")
    on_finer_mpp: Literal["skip", "refuse"] = Field(
        "skip", description="an mpp finer than the slide's own: leave that mpp out (listed), or set the slide aside"
    )

    @model_validator(mode="after")
    def distinct(self):
        if len(set(self.mpps)) != len(self.mpps):
            raise ValueError(f"mpps are listed twice: {self.mpps}")
        return self
