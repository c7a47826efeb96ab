"""What is shown to people: the viewer, and reader studies, whose readers say which pictures are real."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, Tag

from histogenesis.recipe.base import NO_BYTES, Fraction, Mpp, Name, Section, by_kind

CONSENT = (
    "You are asked to look at pictures of tissue, some from real slides, some made by a computer. Taking part is voluntary, and"
    " you may stop at any time without giving a reason.\n"
    "Kept are: your answers, the seconds that each took, what you write at the end, and the code that you were given. No name,"
    " no address, nothing about your computer.\n"
    "They stay in this browser until you save them as a file and send it to the person who invited you.\n"
    "The pictures are not for diagnosis."
)


class Viewer(Section):
    """The folder for looking at slides (`snakemake viewer`)."""

    real: bool = Field(
        False,
        description="real slides beside the synthetic ones, with outlines of tissue and of classes that a person drew",
    )


class ReaderStudy(Section):
    """What all kinds of reader study have in common."""

    title: str = Field("Which tissue is real?", description="above every page that readers see")
    consent: str = Field(CONSENT, description="what a reader agrees to before the first question")
    seed: int = Field(1, description="of which pictures are shown, their order, sides and names")
    answers: Annotated[str | None, NO_BYTES] = Field(
        None,
        description="folder of the files that readers send back, relative to where snakemake runs; default:"
        " answers/{run}/{name}",
    )


class OfSlides(ReaderStudy):
    """What is shown of slides."""

    real: Literal["held-out", "all"] = Field(
        "held-out", description="`held-out`: only slides that nothing was trained on"
    )


class WholeSlides(OfSlides):
    """Whole slides, zoomed freely, each real or synthetic with a degree of certainty (Harb 2024)."""

    kind: Literal["whole-slides"]
    each: PositiveInt = Field(20, description="real slides, and as many synthetic ones")
    mpp: Mpp | None = Field(None, description="of full zoom, for all; default: the finest that all of them have")
    size_px: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = Field(
        None, description="height and width of all at full zoom: slides are cut or padded with glass about their tissue;"
        " default: that of the smallest synthetic slide",
    )  # fmt: skip


class Pairs(OfSlides):
    """Pairs of a real and a synthetic crop of one magnification: which is the real one (URCDM)."""

    kind: Literal["pairs"]
    mpps: list[Mpp] | None = Field(None, description="magnifications; default: those of the synthetic slides' levels")
    each: PositiveInt = Field(20, description="pairs at each magnification")
    size_px: PositiveInt = Field(256, description="height and width of a crop")
    min_tissue: Fraction = Field(
        0.5, description="share of tissue of a crop; 0, and the size of patch FID's crops: what URCDM showed"
    )


class Survey(ReaderStudy):
    """Patches of classes in five parts: match classes in a pair, name the class, pick the generated one of a pair, generated or
    real, and ratings from 1 to 5 (Son 2023)."""

    kind: Literal["survey"]
    samples: Name = Field(description="the samples that are shown; their model is told two classes or more")
    each: PositiveInt = Field(4, description="questions of each of the first four parts")
    rated: PositiveInt = Field(2, description="pictures that are rated")


AnyReaderStudy = Annotated[
    Annotated[WholeSlides, Tag("whole-slides")] | Annotated[Pairs, Tag("pairs")] | Annotated[Survey, Tag("survey")],
    by_kind("whole-slides", "pairs", "survey"),
]
