"""Slides, what is held out, tissue, patch sets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Tag, model_validator

from histogenesis.recipe.base import NO_BYTES, Fraction, Mpp, Name, Section, SkipBackground, by_kind


class Phantom(Section):
    """A made-up slide: procedural H&E-like tissue with a known mask."""

    name: Name = Field(description="of the slide")
    seed: int = Field(1, description="of what is drawn")
    width_mm: PositiveFloat = Field(4.0, description="of the slide")
    height_mm: PositiveFloat = Field(3.0, description="of the slide")
    mpp: Mpp = 1.0
    patient: Name | None = Field(None, description="default: the slide's own name")
    label: str | None = Field(None, description="its class, as the slide table's column `label`")
    pen_mark: bool = Field(True, description="whether a pen has marked the glass")
    dust: bool = Field(True, description="whether there is dust on the glass")


class Slides(Section):
    """Where the slides are."""

    table: Annotated[str | None, NO_BYTES] = Field(
        None, description="slides.tsv: slide, path, patient [mpp, label, split, sha256, tissue, regions]"
    )
    root: Annotated[str, NO_BYTES] = Field(
        ".", description="paths in the table are relative to this; HISTOGENESIS_SLIDE_ROOT overrides it"
    )
    phantoms: list[Phantom] = Field(
        default_factory=list, description="made-up slides, besides or in place of the table"
    )
    on_bad: Annotated[Literal["set_aside", "stop"], NO_BYTES] = Field(
        "set_aside", description="a slide that cannot be used is listed in the report, or ends the run"
    )
    max_damaged: Fraction = Field(
        0.1,
        description="places of a slide that may not decode: they are left out and counted; with more, it cannot be used",
    )


class Split(Section):
    """What is held out. By patient, always; by region only when there is a single patient, and the report says so.

    Of labelled patches without slides, whole groups are held out.
    """

    by: Literal["patient", "region"] = Field(
        "patient",
        description="`patient`: whole patients; `region`: the right part of each slide, where there is a single patient",
    )
    validation: Fraction = Field(0.2, description="fraction of patients (or of the slide's width) that is held out")
    seed: int = Field(1, description="which patients are held out")


class Gate(Section):
    """What the data must hold before any training begins; each number is for every mpp and class that something draws."""

    train_patches: PositiveInt = Field(1, description="at least so many patches to learn from, or the run ends")
    slides: PositiveInt = Field(1, description="of at least so many slides")
    held_out_patches: int = Field(
        0, ge=0, description="at least so many held-out patches, or the run ends; 0: none is a warning in the report"
    )


class Tissue(Section):
    """How tissue is told from background."""

    method: Literal["stain", "fesi", "fesi-improved", "histolab", "otsu"] = Field(
        "stain",
        description="`stain`: by difference from the slide's own glass; `histolab`: its TissueMask at its own scale",
    )
    mpp: Mpp = Field(10.0, description="resolution of the mask")
    border_background: bool = Field(True, description="every background part that touches the border is background")
    guard: bool = Field(True, description="refuse to split pure background or a picture that is all tissue")
    min_area_mm2: float = Field(0.0, ge=0, description="tissue parts smaller than this are dropped")


class SlidePatches(Section):
    """What patch sets that are cut from slides have in common."""

    size_px: PositiveInt = Field(description="height and width of a patch, px")
    mpps: list[Mpp] = Field(min_length=1, description="resolutions at which patches are cut, micrometres per pixel")
    per_slide: PositiveInt = Field(500, description="at most so many patches of a slide at each mpp")
    placement: Literal["grid", "random"] = Field("random", description="side by side, or at random places")
    jpeg_quality: Annotated[int, Field(ge=50, le=100)] | None = Field(
        None,
        description="keep patches as JPEG of this quality (90: about a sixth of the bytes; not what CLAM reads); default: as"
        " they are",
    )
    on_finer_mpp: Literal["skip", "refuse"] = Field(
        "skip", description="an mpp finer than the slide's own: leave that mpp out (listed), or set the slide aside"
    )

    @property
    def from_slides(self) -> bool:
        return True

    @model_validator(mode="after")
    def distinct(self):
        if len(set(self.mpps)) != len(self.mpps):
            raise ValueError(f"mpps are listed twice: {self.mpps}")
        return self


class Quality(Section):
    """What a patch must be like to be kept; the four numbers are columns of the patch set in any case."""

    min_sharpness: float | None = Field(
        None, ge=0, description="energy of second over first differences: under 0.2 is out of focus"
    )
    max_ink: Fraction | None = Field(None, description="share in the colours of pens")
    max_seam: float | None = Field(
        None, ge=1, description="steepest straight line over the median one: over 4 is a seam"
    )
    min_stain: Fraction | None = Field(None, description="share in a colour that glass has not")


class PatchSet(SlidePatches):
    """Patches of one size at stated mpps, from many slides, where there is tissue."""

    kind: Literal["slides"] = "slides"
    min_tissue: Fraction = Field(0.1, description="patches with a smaller share of tissue are left out")
    placement: Literal["grid", "random", "whole"] = Field(  # type: ignore[assignment]  # one choice more
        "random", description="`whole`: one patch about the slide's centre, padded with background where the slide ends"
    )
    whole_mpps: list[Mpp] = Field(
        [],
        description="of the mpps, those whose one patch is the whole slide, as with `placement: whole`, however little tissue"
        " it has: what a level 0 of one tile learns from",
    )
    context_ratio: Annotated[float, Field(gt=1)] | None = Field(
        None, description="beside each patch, the view about its centre that is so many times as wide, in as many px"
    )
    skip_background: SkipBackground | None = Field(None, description="patches that are mostly white are left out")
    quality: Quality = Quality()
    labelled: bool = Field(False, description="each patch has the class of its slide: the table's column `label`")

    @model_validator(mode="after")
    def whole_are_some_of_the_mpps(self):
        absent = [mpp for mpp in self.whole_mpps if mpp not in self.mpps]
        if absent:
            raise ValueError(f"whole_mpps: {absent} are not among the mpps {self.mpps}")
        return self

    def placed(self, mpp: float) -> dict[str, Any]:
        """How patches of one mpp are placed: `placement` and `min_tissue` of place_patches."""
        if mpp in self.whole_mpps:
            return {"placement": "whole", "min_tissue": 0.0}
        return {"placement": self.placement, "min_tissue": self.min_tissue}

    @property
    def has_labels(self) -> bool:
        return self.labelled


class RegionPatches(SlidePatches):
    """Patches from regions of slides that a person drew and classified: GeoJSON, the table's column `regions`."""

    kind: Literal["regions"]
    classes: list[str] = Field(min_length=1, description="classes of regions to cut from, as QuPath names them")
    min_inside: Annotated[float, Field(gt=0.5, le=1)] = Field(
        1.0, description="share of a patch that lies in regions of its class; the rest at most may lie in another's"
    )
    min_tissue: Fraction = Field(0.0, description="regions are what a person drew: no tissue is asked for beyond them")

    @property
    def has_labels(self) -> bool:
        return True


class LabelledPatches(Section):
    """Patches that were cut elsewhere, with their classes: image files or PatchCamelyon's HDF5."""

    kind: Literal["folder", "patchcamelyon", "kaggle"]
    path: Annotated[str, NO_BYTES] = Field(
        min_length=1,
        description="relative to slides.root. folder: of a subfolder for each class, or a table (.csv, .tsv);"
        " patchcamelyon: the folder of camelyonpatch_level_2_split_*_x.h5, _y.h5 (and _meta.csv);"
        " kaggle: the folder of train_labels.csv and train/*.tif",
    )
    size_px: PositiveInt = Field(description="height and width of a patch as it is stored, px")
    field_px: PositiveInt | None = Field(
        None, description="the centre of so many px is taken, averaged down to size_px if larger; default: size_px"
    )
    mpp: Mpp | None = Field(
        None, description="of the files as they are; unknown if not given, and then nothing that needs mpp takes them"
    )
    classes: list[str] | None = Field(None, description="the classes to take; default: all")
    per_class: PositiveInt | None = Field(None, description="at most so many of each class, drawn by the seed")
    file_column: str = Field("file", description="the table's column of file names")
    class_column: str = Field("class", description="the table's column of classes")
    group_column: str = Field("group", description="what a split keeps together: patient, slide, tile")
    min_tissue: Fraction = Field(0.0, description="labelled patches are taken as they are")

    @model_validator(mode="after")
    def averaged_down(self):
        if self.field_px and self.field_px < self.size_px:
            raise ValueError(f"field_px {self.field_px} is less than size_px {self.size_px}: nothing is upsampled")
        return self

    @property
    def mpps(self) -> list[float]:
        """Micrometres per pixel of the patches as they are stored; empty if it is not known."""
        return [self.mpp * (self.field_px or self.size_px) / self.size_px] if self.mpp else []

    @property
    def from_slides(self) -> bool:
        return False

    @property
    def has_labels(self) -> bool:
        return True


LABELLED = ("folder", "patchcamelyon", "kaggle")
AnyPatches = Annotated[
    Annotated[PatchSet, Tag("slides")]
    | Annotated[RegionPatches, Tag("regions")]
    | Annotated[LabelledPatches, Tag("folder")]
    | Annotated[LabelledPatches, Tag("patchcamelyon")]
    | Annotated[LabelledPatches, Tag("kaggle")],
    by_kind("slides", "regions", *LABELLED),
]
