"""The recipe: one YAML file that says everything a run is, from slides to evaluation.

One class a section. Unknown keys are refused, so that a misspelt key never silently means the default. The JSON schema
in config/recipe.schema.json is generated from these classes (`histogenesis schema`), and a test shows when it drifts.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Mpp = Annotated[float, Field(gt=0.01, lt=1000, description="micrometres per pixel")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RecipeError(ValueError):
    """A recipe that cannot be run, in words that name the key and the remedy."""


def by_kind(default: str, *others: str) -> Discriminator:
    """Tells sections apart by their key `kind`, which may be left out for `default`."""
    return Discriminator(
        lambda section: (
            section.get("kind", default) if isinstance(section, dict) else getattr(section, "kind", default)
        ),
        custom_error_type="unknown_kind",
        custom_error_message=f"no such kind; there are {', '.join([default, *others])}",
    )


# ---------------------------------------------------------------------------------------------------- slides


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


# ---------------------------------------------------------------------------------------------------- patches


class PatchSet(Section):
    """Patches of one size at stated mpps, from many slides."""

    size_px: PositiveInt
    mpps: list[Mpp] = Field(min_length=1)
    min_tissue: Fraction = 0.1
    per_slide: PositiveInt = Field(500, description="at most so many patches of a slide at each mpp")
    placement: Literal["grid", "random"] = "random"
    on_finer_mpp: Literal["skip", "refuse"] = Field(
        "skip", description="an mpp finer than the slide's own: leave that mpp out (listed), or set the slide aside"
    )

    @model_validator(mode="after")
    def distinct(self):
        if len(set(self.mpps)) != len(self.mpps):
            raise ValueError(f"mpps are listed twice: {self.mpps}")
        return self


# ---------------------------------------------------------------------------------------------------- models


class Network(Section):
    """The DDPM++ U-Net (Song et al. 2021, as in Karras et al. 2022)."""

    kind: Literal["ddpmpp"] = "ddpmpp"
    channels: PositiveInt = 64
    multipliers: list[PositiveFloat] = Field([0.5, 1, 1, 2, 2, 4, 4], min_length=1)
    blocks: PositiveInt = Field(2, description="residual blocks per resolution")
    attention_px: list[PositiveInt] = Field([32, 16, 8], description="feature-map sizes that have self-attention")
    heads: PositiveInt = 4
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class EDSR(Section):
    """The residual network of Lim et al. 2017, which doubles a picture (their baseline: 64 channels, 16 blocks)."""

    kind: Literal["edsr"]
    channels: PositiveInt = 64
    blocks: PositiveInt = Field(16, description="residual blocks")


class Objective(Section):
    """What the network predicts, and which noise levels it learns."""

    kind: Literal["edm"] = "edm"
    sigma_data: PositiveFloat = Field(0.5, description="standard deviation that training images are normalised to")
    p_mean: float = -1.2
    p_std: PositiveFloat = 1.2


class SuperResolution(Section):
    """The patch from its own average over 2 x 2 pixels: mean absolute error (Lim et al. 2017)."""

    kind: Literal["super-resolution"]
    sigma_data: PositiveFloat = Field(0.5, description="standard deviation that training images are normalised to")


AnyNetwork = Annotated[Annotated[Network, Tag("ddpmpp")] | Annotated[EDSR, Tag("edsr")], by_kind("ddpmpp", "edsr")]
AnyObjective = Annotated[
    Annotated[Objective, Tag("edm")] | Annotated[SuperResolution, Tag("super-resolution")],
    by_kind("edm", "super-resolution"),
]


class Training(Section):
    steps: PositiveInt
    batch: PositiveInt = Field(64, description="global batch: over all micro-batches and GPUs")
    micro_batch: PositiveInt | None = Field(None, description="what one GPU holds at once; gradients accumulate")
    lr: PositiveFloat = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = Field(0, ge=0)
    clip_gradient: PositiveFloat | None = None
    ema_half_life_images: PositiveFloat = 500_000
    ema_rampup: Fraction = Field(0.05, description="half-life is at most this share of the images seen so far")
    precision: Literal["fp32", "bf16"] = "bf16"
    compile: bool = Field(True, description="torch.compile, on a GPU only")
    augment: bool = Field(True, description="eight flips and rotations")
    seed: int = 1
    checkpoint_every: PositiveInt = 500
    log_every: PositiveInt = 50
    validate_every: PositiveInt = 500
    validation_images: PositiveInt = 64
    sample_every: PositiveInt = 5000
    sample_images: PositiveInt = Field(4, description="samples drawn for each mpp in a sample grid")
    diverged_at: PositiveFloat = Field(100.0, description="a running loss this many times its best ends the training")

    @model_validator(mode="after")
    def micro(self):
        if self.micro_batch and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        return self


class Model(Section):
    """One trained denoiser (or, for a baseline, upscaler): network + objective + conditions + weights."""

    patches: Name = Field(description="the patch set that it learns from")
    network: AnyNetwork = Network()
    objective: AnyObjective = Objective()
    conditions: list[Literal["mpp"]] = ["mpp"]
    training: Training

    @model_validator(mode="after")
    def belong_together(self):
        if (self.network.kind == "edsr") != (self.objective.kind == "super-resolution"):
            raise ValueError("network `edsr` and objective `super-resolution` go together; give both or none")
        if self.network.kind == "edsr" and self.conditions:
            raise ValueError("network `edsr` is one network for all mpps and is told none; set `conditions: []`")
        return self

    @property
    def size_multiple_px(self) -> int:
        """Pictures that the network takes have a multiple of so many px as height and width."""
        return 2 if self.network.kind == "edsr" else 2 ** (len(self.network.multipliers) - 1)


class TakenModel(Section):
    """A model that another run has trained: its two files are copied, and nothing is trained."""

    path: str = Field(
        min_length=1, description="its folder, as in results/demo/models/shared; relative to the working directory"
    )


AnyModel = Annotated[
    Annotated[Model, Tag("trained")] | Annotated[TakenModel, Tag("taken")],
    Discriminator(lambda v: "taken" if ("path" in v if isinstance(v, dict) else hasattr(v, "path")) else "trained"),
]


# ---------------------------------------------------------------------------------------------------- drawing


class Sampler(Section):
    kind: Literal["heun", "euler", "dpmpp-2m"] = "heun"
    steps: PositiveInt = 18
    sigma_min: PositiveFloat = 0.002
    sigma_max: PositiveFloat = 80.0
    rho: PositiveFloat = 7.0


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

    tile_px: PositiveInt = 512
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


# ---------------------------------------------------------------------------------------------------- evaluation


class EncoderFile(Section):
    """A published encoder, from a file of the user's: TorchScript, or a folder of the transformers library."""

    name: Name = Field(
        description="inception, dinov2, phikon, uni, virchow2, h-optimus-0, ...; see metrics/encoders.py"
    )
    file: str
    sha256: str | None = Field(None, description="checked where given; Inception's is known")


class Evaluation(Section):
    """The account of how real, how coherent and how copied."""

    patches: Name | None = Field(
        None, description="the patch set to compare with; default: the one that the finest level's model learned from"
    )
    contact_sheet: PositiveInt = Field(8, description="patches in a row of the contact sheet, real above synthetic")
    seam_shifts: PositiveInt = Field(200, description="random lines that the tile lines are compared with")
    encoders: list[Literal["stain-statistics", "learned"] | EncoderFile] = Field(
        ["stain-statistics", "learned"],
        min_length=2,
        description="never one alone: a number must not hang on one encoder",
    )
    encoder_steps: PositiveInt = Field(
        300, description="training of `learned`, the encoder made of the run's own patches"
    )
    images: PositiveInt = Field(500, description="at most so many real and generated patches at each mpp")
    train_images: PositiveInt = Field(
        1000, description="at most so many training patches at each mpp, for the copies' audit"
    )
    neighbours: PositiveInt = Field(5, description="k of precision, recall, density, coverage")
    repeats: Annotated[int, Field(ge=10)] = Field(40, description="random subsets behind each interval")
    splits: Annotated[int, Field(ge=2)] = Field(5, description="parts of the held-out set, for SSIM and likelihood")
    copy_percentile: Annotated[float, Field(gt=0, lt=50)] = Field(
        1.0, description="a patch is too close to the training set if fewer per cent of held-out ones are"
    )
    copy_views: bool = Field(True, description="look for turned and mirrored copies too (eight times the encoding)")
    pfid_crops: int = Field(200, ge=0, description="crops of each patch FID, where real slides can be read; 0: none")
    pfid_px: PositiveInt | None = Field(None, description="size of those crops; default: the patches' own size")
    pfid_resize_px: PositiveInt | None = Field(
        None, description="what URCDM's patch FID resizes crops to (the paper: 1024); default: not at all"
    )


class Recipe(Section):
    """Everything that a run is."""

    run: Name = Field(description="results are written to results/{run}/")
    seed: int = 1
    cpu_threads: PositiveInt = Field(2, description="of training and drawing; part of the recipe, as it rounds")
    slides: Slides
    split: Split = Split()
    tissue: Tissue = Tissue()
    patches: dict[Name, PatchSet]
    models: dict[Name, AnyModel]
    synthetic: Synthetic
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def references(self):
        for name, model in self.trained_models.items():
            if model.patches not in self.patches:
                raise ValueError(f"models.{name}: no patch set {model.patches!r}; there are {sorted(self.patches)}")
            size, deep = self.patches[model.patches].size_px, model.size_multiple_px
            if size % deep:
                raise ValueError(
                    f"models.{name}: the network halves its picture {deep.bit_length() - 1} times, which"
                    f" {size} px patches do not allow; use a multiple of {deep} px"
                )
        for k, level in enumerate(self.synthetic.levels):
            if level.model is not None:
                self._check_model(f"synthetic.levels[{k}]", level)
        if self.compared_patches not in self.patches:
            raise ValueError(
                f"evaluation.patches: say which patch set to compare with ({', '.join(self.patches) or 'there is none'})"
            )
        return self

    def _check_model(self, where: str, level: Level | UpscaledLevel) -> None:
        if level.model not in self.models:
            raise ValueError(f"{where}: no model {level.model!r}; there are {sorted(self.models)}")
        model = self.trained_models.get(level.model)
        if model is None:  # taken from elsewhere: the step that takes it looks
            return
        wanted = "super-resolution" if level.kind == "upscale" else "edm"
        if model.objective.kind != wanted:
            raise ValueError(
                f"{where}: model {level.model!r} has the objective {model.objective.kind!r}, not {wanted!r}"
            )
        if level.kind == "upscale":
            return
        if level.tile_px % model.size_multiple_px:
            raise ValueError(f"{where}: tile_px {level.tile_px} is not a multiple of {model.size_multiple_px}")
        trained = self.patches[model.patches].mpps
        if not any(math.isclose(level.mpp, mpp) for mpp in trained):
            raise ValueError(
                f"{where}: model {level.model!r} learns mpps {trained} and never sees {level.mpp}; add it to"
                f" patches.{model.patches}.mpps"
            )

    @property
    def trained_models(self) -> dict[str, Model]:
        """Those that this run trains; the others are taken from other runs."""
        return {name: model for name, model in self.models.items() if isinstance(model, Model)}

    @property
    def compared_patches(self) -> str | None:
        """The patch set that synthetic slides are compared with; None where the recipe leaves it open."""
        finest = self.trained_models.get(self.synthetic.levels[-1].model)
        learned_from = finest.patches if finest else None
        only = next(iter(self.patches)) if len(self.patches) == 1 else None
        return self.evaluation.patches or learned_from or only


# ---------------------------------------------------------------------------------------------------- reading and writing


def parse_recipe(values: dict[str, Any], source: str = "recipe") -> Recipe:
    """Check `values`; raises RecipeError naming every wrong key, in one line each."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = _key(problem, values) or "(whole recipe)"
            what = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                what = "unknown key; see config/README.md for those that exist"
            lines.append(f"  {where}: {what}")
        raise RecipeError(f"{source} is not a valid recipe:\n" + "\n".join(lines)) from None


def _key(problem: dict[str, Any], values: Any) -> str:
    """Where in the recipe a problem lies, as its writer would say: without the kinds that pydantic adds to the path."""
    parts = []
    for part in problem["loc"]:
        there = isinstance(part, int) or (isinstance(values, dict) and part in values)
        if there or (problem["type"] == "missing" and part == problem["loc"][-1]):
            parts.append(str(part))
            values = values[part] if there and isinstance(values, dict | list) else None
    return ".".join(parts)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from YAML."""
    values = yaml.safe_load(Path(path).read_text())
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe: it holds no keys")
    return parse_recipe(values, str(path))


def canonical(value: Any) -> str:
    """One string for a section: sorted keys, no spaces. What Snakemake compares, and what scripts read back."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
