"""What a model is, as plain values: the models' side of a recipe's section, which can be read without the recipe's library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import SimpleNamespace
from typing import Any

from histogenesis.models.networks.keys import kind_of


class Options(SimpleNamespace):
    """A section's keys as attributes; sections within it likewise."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        return cls(**{key: cls.of(value) if isinstance(value, Mapping) else value for key, value in values.items()})

    def without(self, *keys: str) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in keys}


@dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained; each key as the recipe's `training` describes it, with the same default."""

    steps: int
    batch: int = 64
    micro_batch: int | None = None
    gpus: int = 1
    readers: int = 4
    lr: float = 1e-4
    betas: Sequence[float] = (0.9, 0.999)
    warmup_steps: int = 0
    decay_after_steps: int | None = None
    cosine_to: float | None = None
    clip_gradient: float | None = None
    ema_half_life_images: float = 500_000
    ema_rampup: float = 0.05
    precision: str = "bf16"
    compile: bool = True
    augment: bool = True
    crop_px: int | None = None
    crop_context: bool = True
    start: str | None = None
    seed: int = 1
    checkpoint_every: int = 500
    log_every: int = 50
    validate_every: int = 500
    validation_images: int = 64
    sample_every: int = 5000
    sample_images: int = 4
    diverged_at: float = 100.0


@dataclass(frozen=True)
class ModelOptions:
    """One model: `network` and `objective` have a `kind` and that kind's own keys; the rest is as in the recipe."""

    network: Options
    objective: Options
    training: TrainingOptions
    conditions: Sequence[str] = ("mpp",)
    lowres_factor: int | None = None
    lowres_noise_limit: float = 1.0
    label_dropout: float = 0.1
    autoencoder: str | None = None
    label_embeddings: Mapping[str, Any] | None = None
    values: Mapping[str, Any] = field(
        default_factory=dict, compare=False
    )  # the section as it was given, for model.json

    @classmethod
    def of(cls, section: Any) -> ModelOptions:
        """From a section of a recipe, from its JSON (model.json has it), or as it is."""
        if isinstance(section, cls):
            return section
        values = section if isinstance(section, Mapping) else section.model_dump(mode="json")
        known = {f.name for f in fields(TrainingOptions)}
        own = {f.name for f in fields(cls)} - {"network", "objective", "training", "values"}
        return cls(
            network=Options.of({"kind": "ddpmpp", **values["network"]}),
            objective=Options.of({"kind": "edm", **values["objective"]}),
            training=TrainingOptions(**{k: v for k, v in values["training"].items() if k in known}),
            values=values,
            **{key: value for key, value in values.items() if key in own},
        )

    @property
    def denoises(self) -> bool:
        """Whether samplers can draw with it."""
        return kind_of(self.network).denoises
