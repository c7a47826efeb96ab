"""The recipe: one YAML file that says everything a run is, from slides to evaluation.

One class a section. Unknown keys are refused, so that a misspelt key never silently means the default. The JSON schema
in config/recipe.schema.json is generated from these classes (`histogenesis schema`), and a test shows when it drifts.
"""

from histogenesis.config.base import NAME, Fraction, Mpp, Name, RecipeError, Section
from histogenesis.config.data import PatchSet, Phantom, Slides, Split, Tissue
from histogenesis.config.drawing import (
    TVL1,
    AnyLevel,
    Bicubic,
    GridShift,
    Independent,
    Learned,
    Level,
    NoConstraint,
    NullSpace,
    Relaxation,
    Sampler,
    SlideFile,
    Synthetic,
    Threshold,
    TissuePlan,
    UpscaledLevel,
)
from histogenesis.config.evaluation import EncoderFile, Evaluation
from histogenesis.config.models import (
    EDSR,
    AnyModel,
    AnyNetwork,
    AnyObjective,
    Model,
    Network,
    Objective,
    Prediction,
    SuperResolution,
    TakenModel,
    Training,
)
from histogenesis.config.recipe import Recipe, canonical, load_recipe, parse_recipe

__all__ = [
    "EDSR",
    "NAME",
    "TVL1",
    "AnyLevel",
    "AnyModel",
    "AnyNetwork",
    "AnyObjective",
    "Bicubic",
    "EncoderFile",
    "Evaluation",
    "Fraction",
    "GridShift",
    "Independent",
    "Learned",
    "Level",
    "Model",
    "Mpp",
    "Name",
    "Network",
    "NoConstraint",
    "NullSpace",
    "Objective",
    "PatchSet",
    "Phantom",
    "Prediction",
    "Recipe",
    "RecipeError",
    "Relaxation",
    "Sampler",
    "Section",
    "SlideFile",
    "Slides",
    "Split",
    "SuperResolution",
    "Synthetic",
    "TakenModel",
    "Threshold",
    "Tissue",
    "TissuePlan",
    "Training",
    "UpscaledLevel",
    "canonical",
    "load_recipe",
    "parse_recipe",
]
