"""The whole recipe: what its sections say of each other, and how it is read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, PositiveInt, model_validator

from histogenesis.recipe.base import Name, RecipeError, Section
from histogenesis.recipe.data import AnyPatches, Gate, Slides, Split, Tissue
from histogenesis.recipe.drawing import Synthetic
from histogenesis.recipe.evaluation import Evaluation
from histogenesis.recipe.extending import read_recipe
from histogenesis.recipe.fitting import check_network, check_sample_network, learns
from histogenesis.recipe.grid import expand
from histogenesis.recipe.levels import AnyLevel, Level
from histogenesis.recipe.models import AnyModel, ImportedModel, Model, WinnerModel
from histogenesis.recipe.problems import Together, absent, problems_of
from histogenesis.recipe.reading import AnyReaderStudy, Survey, Viewer, WholeSlides
from histogenesis.recipe.samples import AnySamples, BroughtSamples, Samples, Study


class Recipe(Section):
    """Everything that a run is."""

    run: Name = Field(description="results are written to results/{run}/")
    seed: int = Field(
        1, description="of everything that is random and has no seed of its own: places of patches, noise of levels"
    )
    cpu_threads: PositiveInt = Field(
        1,
        description="of each process of training and drawing; part of the recipe, as it rounds. More cores are used by more"
        " processes (`training.gpus`, jobs): threads that wait for each other collapse beside other work",
    )
    slides: Slides = Slides()
    split: Split = Split()
    tissue: Tissue = Tissue()
    gate: Gate = Gate()
    patches: dict[Name, AnyPatches] = Field(default_factory=dict)
    models: dict[Name, AnyModel] = Field(default_factory=dict)
    synthetic: Synthetic | None = None
    samples: dict[Name, AnySamples] = Field(default_factory=dict)
    study: Study | None = None
    viewer: Viewer = Viewer()
    reading: dict[Name, AnyReaderStudy] = Field(
        default_factory=dict, description="reader studies, by names of your own: pictures shown to people"
    )
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def references(self):
        """What sections say of each other: every problem, not the first alone."""
        found = Together()
        with found:
            self._check_sources()
        for name, model in self.trained_models.items():
            with found:
                self._check_model(f"models.{name}", model)
        for name, imported in self.imported_models.items():
            with found:
                if imported.patches not in (None, *self.patches):
                    raise ValueError(f"models.{name}.patches: {absent('patch set', imported.patches, self.patches)}")
        for name, winner in self.winner_models.items():
            with found:
                self._check_winner(name, winner)
        for name, samples in self.drawn_samples.items():
            with found:
                self._check_samples(f"samples.{name}", samples)
        for name, brought in self.brought_samples.items():
            with found:
                self._check_brought(f"samples.{name}", brought)
        for k, level in enumerate(self.synthetic.levels if self.synthetic else []):
            with found:
                self._check_models(f"synthetic.levels[{k}]", k, level)
        for name, reading in self.reading.items():
            with found:
                self._check_reading(f"reading.{name}", reading)
        with found:
            self._check_compared()
        found.end()
        return self

    def _check_sources(self) -> None:
        if not (self.synthetic or self.samples or self.models):
            raise ValueError("nothing is made: give `synthetic:` (slides), `samples:` (patches), or `models:` to train")
        from_slides = any(patches.from_slides for patches in self.patches.values())
        if from_slides and not self.slides.table and not self.slides.phantoms:
            raise ValueError("slides: no slides: give `table: path/to/slides.tsv`, or `phantoms:`, under `slides:`")

    def _check_compared(self) -> None:
        if not self.evaluation.enabled and self.study:
            raise ValueError("evaluation.enabled: false leaves a study's table empty; take out one of the two")
        if not (self.synthetic and self.patches and self.evaluation.enabled):  # drawn only, or nothing to compare with
            return
        if self.compared_patches is None:
            raise ValueError(f"evaluation.patches: say which patch set to compare with ({', '.join(self.patches)})")
        if self.compared_patches not in self.patches:
            raise ValueError(f"evaluation.patches: {absent('patch set', self.compared_patches, self.patches)}")

    def _check_model(self, where: str, model: Model) -> None:
        if model.patches not in self.patches:
            raise ValueError(f"{where}.patches: {absent('patch set', model.patches, self.patches)}")
        patches, deep = self.patches[model.patches], model.size_multiple_px
        size = model.training.crop_px or patches.size_px
        if size > patches.size_px:
            raise ValueError(f"{where}: crop_px {size} is more than the patches' {patches.size_px} px")
        if "context" in model.conditions and getattr(patches, "context_ratio", None) is None:
            raise ValueError(
                f"{where}: the condition `context` needs patches with a wider view; set"
                f" patches.{model.patches}.context_ratio"
            )
        if model.lowres_factor and patches.size_px % model.lowres_factor:
            raise ValueError(
                f"{where}: lowres_factor {model.lowres_factor} does not divide patches of {patches.size_px} px"
            )
        if size % deep:
            raise ValueError(
                f"{where}: the network divides its picture by {deep}, which {size} px patches do not allow; use a multiple of"
                f" {deep} px"
            )
        try:
            model.network.check(size // model.latent_px)
        except ValueError as error:
            raise ValueError(f"{where}: its network {error}") from None
        if "mpp" in model.conditions and not patches.mpps:
            raise ValueError(
                f"{where}: it is told the mpp, which patch set {model.patches!r} does not know: state its mpp, or set"
                " `conditions` without mpp"
            )
        if model.autoencoder and not self._is_autoencoder(model.autoencoder):
            raise ValueError(f"{where}: {model.autoencoder!r} is no model with the network `vq-f4`")
        if (model.classes or "label" in model.conditions) and not patches.has_labels:
            raise ValueError(f"{where}: it needs labels, and patch set {model.patches!r} has none")

    def _check_models(self, where: str, k: int, level: AnyLevel) -> None:
        for name in level.models:
            if name not in self.models:
                raise ValueError(f"{where}: {absent('model', name, self.models)}")
            model = self.trained_models.get(name)
            if model and model.denoises != level.from_noise:
                has = model.objective.kind
                raise ValueError(f"{where}: model {name!r} has the objective {has!r}, not {level.objectives}")
        if not isinstance(level, Level):
            return
        told = [m for m in map(self.trained_models.get, level.models) if m is None or "label" in m.conditions]
        freely = 0.0 if level.weaker else level.guidance  # by the model itself, without its class
        if (level.label or freely) and not told:
            raise ValueError(f"{where}: no model of it is told the class; add `label` to its `conditions`")
        self._check_weaker(where, level)
        ratio = self.synthetic.levels[k - 1].mpp / level.mpp if k else None
        level = level.model_copy(update={"size_px": self.synthetic.size_px(k)})
        for n, name in level.asked:
            model = self.trained_models.get(name)
            if model is None:  # taken from elsewhere: the step that takes it looks
                continue
            if "label" in model.conditions:
                self._check_label(where, True, freely, model)
            patches = self.patches[model.patches]
            try:
                check_network(level, n, model, patches.mpps, getattr(patches, "context_ratio", None), ratio)
            except ValueError as error:
                hint = f"; change patches.{model.patches}.mpps" if "never sees" in str(error) else ""
                raise ValueError(f"{where}: model {name!r} {error}{hint}") from None

    def _check_weaker(self, where: str, level: Level) -> None:
        model, weaker = self.trained_models.get(level.model), self.trained_models.get(level.weaker or "")
        if model and weaker and {*model.conditions} - {"label"} != {*weaker.conditions} - {"label"}:
            both = f"{level.weaker!r} and {level.model!r}"
            raise ValueError(f"{where}.weaker: {both} are asked the same; give both the same `conditions`")

    @staticmethod
    def _check_label(where: str, told: bool, guidance: float, model: Model) -> None:
        if (told or guidance) and "label" not in model.conditions:
            raise ValueError(f"{where}: its model is not told the class; add `label` to its `conditions`")
        if guidance and not model.label_dropout:
            raise ValueError(f"{where}: guidance needs a model that has also learnt without label: set `label_dropout`")

    def _check_winner(self, name: str, model: WinnerModel) -> None:
        if not (self.study and self.study.winner and self.study.winner.samples == model.winner_of):
            raise ValueError(f"models.{name}: say in study.winner by what {model.winner_of!r} is judged")
        if model.patches not in self.patches:
            raise ValueError(f"models.{name}.patches: {absent('patch set', model.patches, self.patches)}")

    def _check_samples(self, where: str, samples: Samples) -> None:
        if samples.model not in self.models:
            raise ValueError(f"{where}.model: {absent('model', samples.model, self.models)}")
        learnt, compared = self.patches_of(samples.model), self.patches.get(samples.compare or "")
        if samples.compare and not compared:
            raise ValueError(f"{where}.compare: {absent('patch set', samples.compare, self.patches)}")
        if not (compared or learnt):
            if not self.evaluation.enabled:  # drawn by a model from elsewhere, which only its files tell of
                return
            raise ValueError(f"{where}: its model is from elsewhere; say which patch set to `compare` with")
        size = samples.size_px or (self.patches[learnt] if learnt else compared).size_px
        compared = compared or self.patches[learnt]
        if compared.size_px != size:
            raise ValueError(
                f"{where}: patches of {size} px cannot be compared with those of {compared.size_px} px; give `compare:`, a"
                f" patch set of {size} px"
            )
        model = self.trained_models.get(samples.model)
        if not model:
            return
        if model.autoencoder and samples.sampler.threshold:
            raise ValueError(f"{where}: a threshold keeps pictures in their range, and latents have none; leave it out")
        before = None
        for name, px, sampler in samples.networks:
            if name not in self.trained_models:
                raise ValueError(f"{where}.cascade: {absent('model', name, self.trained_models)}")
            try:
                check_sample_network(self.trained_models[name], px or size, sampler, before, samples.lowres_noise)
            except ValueError as error:
                raise ValueError(f"{where}: model {name!r} {error}") from None
            before = px or size
        told = samples.classes is not None and samples.classes != model.classes
        self._check_label(where, told, samples.guidance, model)

    def _check_brought(self, where: str, samples: BroughtSamples) -> None:
        if samples.compare not in self.patches:
            raise ValueError(f"{where}.compare: {absent('patch set', samples.compare, self.patches)}")
        compared = self.patches[samples.compare]
        if samples.slides and not compared.mpps:
            raise ValueError(
                f"{where}: at which mpp slides are to be read is not known: state that of {samples.compare!r}"
            )
        if samples.mpp and not learns(samples.mpp, compared.mpps):
            raise ValueError(
                f"{where}.mpp: {samples.mpp:g} is none of {samples.compare!r}, which has {compared.mpps} (3 % off at most)"
            )

    def _check_reading(self, where: str, reading: AnyReaderStudy) -> None:
        if isinstance(reading, Survey):
            if reading.samples not in self.samples:
                raise ValueError(f"{where}.samples: {absent('samples', reading.samples, self.samples)}")
            if not self.patches[self.compared_with(reading.samples)].has_labels:
                raise ValueError(f"{where}: a survey names classes, and the patches of these samples have no labels")
            return
        if not self.synthetic or not (self.slides.table or self.slides.phantoms):
            raise ValueError(f"{where}: it shows real slides beside synthetic ones: give `slides:` and `synthetic:`")
        if isinstance(reading, WholeSlides) and reading.each > len(self.synthetic.names):
            raise ValueError(
                f"{where}.each: {reading.each} synthetic slides are shown, and {len(self.synthetic.names)} are drawn; set"
                " synthetic.slides, or lower it"
            )

    def patches_of(self, model: str) -> str | None:
        """The patch set that a model learns from; None for one that another run has trained."""
        return getattr(self.models[model], "patches", None)

    def compared_with(self, samples: str) -> str:
        """The patch set whose held-out patches samples are compared with."""
        section = self.samples[samples]
        return (
            section.compare
            if isinstance(section, BroughtSamples)
            else section.compare or self.patches_of(section.model)
        )

    def latent_px(self, model: str) -> int:
        """Px of a picture to one of what a model draws; 1 for one that is taken from elsewhere, which only its files tell."""
        section = self.trained_models.get(model)
        return section.latent_px if section else 1

    def _is_autoencoder(self, name: str) -> bool:
        model = self.models.get(name)
        return isinstance(model, Model) and model.encodes

    @property
    def autoencoders(self) -> list[str]:
        return [name for name in self.models if self._is_autoencoder(name)]

    def measures_tstr(self, samples: str) -> bool:
        """Whether a classifier learns from samples: where the recipe wants it, and they are of two classes or more."""
        if samples not in self.evaluated_samples:
            return False
        section = self.samples[samples]
        if isinstance(section, BroughtSamples):
            return self.evaluation.tstr is not None and section.tstr and len(section.classes or []) > 1
        model = self.models[section.model]
        told = isinstance(model, ImportedModel) or "label" in getattr(model, "conditions", [])
        one = len(section.classes or getattr(model, "classes", None) or ["all", "of them"]) == 1
        return self.evaluation.tstr is not None and section.tstr and told and not one

    @property
    def evaluated_samples(self) -> dict[str, AnySamples]:
        """Those that are compared with held-out patches: all, or none."""
        return self.samples if self.evaluation.enabled else {}

    @property
    def brought_samples(self) -> dict[str, BroughtSamples]:
        """Those that no model here draws."""
        return {name: one for name, one in self.samples.items() if isinstance(one, BroughtSamples)}

    @property
    def drawn_samples(self) -> dict[str, Samples]:
        return {name: one for name, one in self.samples.items() if isinstance(one, Samples)}

    @property
    def winner_models(self) -> dict[str, WinnerModel]:
        """Those that are trained as the best of the study was."""
        return {name: model for name, model in self.models.items() if isinstance(model, WinnerModel)}

    @property
    def imported_models(self) -> dict[str, ImportedModel]:
        return {name: model for name, model in self.models.items() if isinstance(model, ImportedModel)}

    @property
    def trained_models(self) -> dict[str, Model]:
        """Those that this run trains as it says; the others are taken from other runs, or follow the study's winner."""
        return {name: model for name, model in self.models.items() if isinstance(model, Model)}

    @property
    def compared_patches(self) -> str | None:
        """The patch set that synthetic slides are compared with; None where the recipe leaves it open, or evaluates nothing."""
        if not self.evaluation.enabled:
            return None
        finest = self.trained_models.get(self.synthetic.levels[-1].model) if self.synthetic else None
        learned_from = finest.patches if finest else None
        only = next(iter(self.patches)) if len(self.patches) == 1 else None
        return self.evaluation.patches or learned_from or only


def parse_recipe(values: dict[str, Any], source: str = "recipe") -> Recipe:
    """Check `values`, a study's grid carried out; raises RecipeError naming everything that is wrong, in one line each."""
    recipe, problems = problems_of(Recipe, expand(values))
    if problems:
        raise RecipeError(f"{source} is not a valid recipe:\n" + "\n".join(f"  {problem}" for problem in problems))
    assert isinstance(recipe, Recipe)
    return recipe


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe from YAML, with what it extends."""
    return parse_recipe(read_recipe(path), str(path))


def canonical(value: Any) -> str:
    """One string for a section: sorted keys, no spaces. What Snakemake compares, and what scripts read back."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
