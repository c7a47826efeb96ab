"""The whole recipe: what its sections say of each other, and how it is read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, PositiveInt, ValidationError, model_validator

from histogenesis.config.base import Name, RecipeError, Section
from histogenesis.config.data import PatchSet, Slides, Split, Tissue
from histogenesis.config.drawing import Level, Synthetic, UpscaledLevel
from histogenesis.config.evaluation import Evaluation
from histogenesis.config.fitting import check_network
from histogenesis.config.models import AnyModel, Model


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
            patches, deep = self.patches[model.patches], model.size_multiple_px
            size = model.training.crop_px or patches.size_px
            if size > patches.size_px:
                raise ValueError(f"models.{name}: crop_px {size} is more than the patches' {patches.size_px} px")
            if "context" in model.conditions and patches.context_ratio is None:
                raise ValueError(
                    f"models.{name}: the condition `context` needs patches with a wider view; set"
                    f" patches.{model.patches}.context_ratio"
                )
            if model.lowres_factor and patches.size_px % model.lowres_factor:
                raise ValueError(
                    f"models.{name}: lowres_factor {model.lowres_factor} does not divide patches of {patches.size_px} px"
                )
            if size % deep:
                raise ValueError(
                    f"models.{name}: the network halves its picture {deep.bit_length() - 1} times, which"
                    f" {size} px patches do not allow; use a multiple of {deep} px"
                )
        for k, level in enumerate(self.synthetic.levels):
            self._check_models(f"synthetic.levels[{k}]", k, level)
        if self.compared_patches not in self.patches:
            raise ValueError(
                f"evaluation.patches: say which patch set to compare with ({', '.join(self.patches) or 'there is none'})"
            )
        return self

    def _check_models(self, where: str, k: int, level: Level | UpscaledLevel) -> None:
        for name in level.models:
            if name not in self.models:
                raise ValueError(f"{where}: no model {name!r}; there are {sorted(self.models)}")
            model = self.trained_models.get(name)
            if model and model.denoises == (level.kind == "upscale"):
                wanted = "'super-resolution'" if level.kind == "upscale" else "'edm', 'eps', 'v' or 'x0'"
                raise ValueError(f"{where}: model {name!r} has the objective {model.objective.kind!r}, not {wanted}")
        if level.kind == "upscale":
            return
        ratio = self.synthetic.levels[k - 1].mpp / level.mpp if k else None
        for n, network in enumerate(level.networks):
            model = self.trained_models.get(network.model)
            if model is None:  # taken from elsewhere: the step that takes it looks
                continue
            patches = self.patches[model.patches]
            try:
                check_network(level, n, model, patches.mpps, patches.context_ratio, ratio)
            except ValueError as error:
                hint = f"; change patches.{model.patches}.mpps" if "never sees" in str(error) else ""
                raise ValueError(f"{where}: model {network.model!r} {error}{hint}") from None

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
