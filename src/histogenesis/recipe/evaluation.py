"""The account of how real, how coherent and how copied."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from histogenesis.recipe.base import NO_BYTES, Name, Section

BuiltIn = Literal["stain-statistics", "efficientnet-lite0", "he-network"]  # no file of the user's is needed


class EncoderFile(Section):
    """A published encoder, from a file of the user's: TorchScript, or a folder of the transformers library."""

    name: Name = Field(
        description="inception, dinov2, midnight-12k, phikon-v2, uni2-h, virchow2, h-optimus-1: metrics/encoders/registry.py"
    )
    file: Annotated[str, NO_BYTES] = Field(
        description="where it lies: a TorchScript file, or a folder of the transformers library"
    )
    sha256: Annotated[str | None, NO_BYTES] = Field(None, description="checked where given; Inception's is known")


class CodecSection(Section):
    """A JPEG codec."""

    quality: Annotated[int, Field(ge=1, le=100)] = Field(description="as libjpeg counts it")
    subsampling: Literal[0, 1, 2] = Field(2, description="of chroma; 0: 4:4:4, 1: 4:2:2, 2: 4:2:0")


class TSTR(Section):
    """A classifier trained on real patches, on generated ones, and on both, tested on real ones that were held out."""

    network: Literal["resnet50", "small"] = Field("resnet50", description="of the classifier")
    seeds: PositiveInt = Field(5, description="trainings of each arm; the interval is over these")
    steps: PositiveInt = Field(1000, description="of each training, the same in every arm")
    batch: PositiveInt = Field(64, description="patches a step")
    lr: PositiveFloat = Field(1e-3, description="learning rate")


class Evaluation(Section):
    """The account of how real, how coherent and how copied."""

    enabled: bool = Field(
        True, description="false: models are trained, slides and samples drawn, and nothing is measured"
    )
    patches: Name | None = Field(
        None, description="the patch set to compare with; default: the one that the finest level's model learned from"
    )
    contact_sheet: PositiveInt = Field(8, description="patches in a row of the contact sheet, real above synthetic")
    seam_shifts: PositiveInt = Field(200, description="random lines that the tile lines are compared with")
    encoders: list[BuiltIn | EncoderFile] = Field(
        ["stain-statistics", "efficientnet-lite0", "he-network"],
        min_length=2,
        description="never one alone: a number must not hang on one encoder",
    )
    codec: Literal["slides", "none"] | CodecSection = Field(
        "slides",
        description="what real and generated patches both go through before they are compared; slides: the codec of the real"
        " slides, read from their tiles' quantisation tables",
    )
    morphology_images: int = Field(
        200, ge=0, description="patches of each kind at each mpp whose nuclei, tissue and stains are measured; 0: none"
    )
    c2st_steps: int = Field(
        150, ge=0, description="training of each classifier that tells real from generated; 0: there is none"
    )
    sensitivity_images: int = Field(
        200,
        ge=0,
        description="real patches at each mpp on which each encoder must show that it sees structure; 0: not asked",
    )
    images: PositiveInt = Field(500, description="at most so many real and generated patches at each mpp")
    train_images: PositiveInt = Field(
        1000, description="at most so many training patches at each mpp, for the copies' audit"
    )
    one_per_group: bool = Field(
        False,
        description="of real patches of one group (a tile that is there several times, turned and mirrored) one alone is"
        " compared with samples",
    )
    neighbours: PositiveInt = Field(5, description="k of precision, recall, density, coverage")
    n_resamples: Annotated[int, Field(ge=10)] = Field(40, description="random subsets behind each interval")
    n_folds: Annotated[int, Field(ge=2)] = Field(5, description="parts of the held-out set, for SSIM and likelihood")
    copy_percentile: Annotated[float, Field(gt=0, lt=50)] = Field(
        1.0, description="a patch is too close to the training set if fewer per cent of held-out ones are"
    )
    membership_images: int = Field(
        400, ge=0, description="training and held-out patches each whose loss the model is asked for; 0: none"
    )
    copy_views: bool = Field(True, description="look for turned and mirrored copies too (eight times the encoding)")
    n_shown: PositiveInt = Field(
        16,
        description="samples of each class that are shown: at even ranks of their distance to the nearest held-out patch",
    )
    cpu_processes: Annotated[PositiveInt, NO_BYTES] = Field(
        1, description="so many processes measure synthetic slides, each with one thread (`cpu_threads: 1`)"
    )
    tstr: TSTR | None = Field(None, description="for samples of two or more classes; default: not measured")
    pfid_crops: int = Field(200, ge=0, description="crops of each patch FID, where real slides can be read; 0: none")
    pfid_px: PositiveInt | None = Field(None, description="size of those crops; default: the patches' own size")
    pfid_resize_px: PositiveInt | None = Field(
        None, description="what URCDM's patch FID resizes crops to (the paper: 1024); default: not at all"
    )
