"""Models: their conditions and their training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Tag,
    model_validator,
)

from histogenesis.models.networks.keys import KEYS
from histogenesis.recipe.base import NO_BYTES, Fraction, Name, Section
from histogenesis.recipe.networks import VQF4, AnyNetwork, Network
from histogenesis.recipe.objectives import AnyObjective, Objective


def _has(section: Any, key: str) -> bool:
    return key in section if isinstance(section, dict) else hasattr(section, key)


class Training(Section):
    """How long a model learns, how fast, and what it reports meanwhile."""

    steps: PositiveInt = Field(
        description="how many batches are learned from; more steps go on from the last checkpoint"
    )
    batch: PositiveInt = Field(64, description="global batch: over all micro-batches and GPUs")
    micro_batch: PositiveInt | None = Field(None, description="what one GPU holds at once; gradients accumulate")
    gpus: Annotated[PositiveInt, NO_BYTES] = Field(
        1, description="GPUs of one node that share the batch; without GPUs, processes"
    )
    readers: Annotated[PositiveInt, NO_BYTES] = Field(
        4, description="threads of each process that read patches ahead for a GPU, where they do not fit on it"
    )
    lr: PositiveFloat = Field(1e-4, description="learning rate")
    betas: tuple[float, float] = Field((0.9, 0.999), description="of Adam")
    warmup_steps: int = Field(0, ge=0, description="the learning rate rises linearly over so many steps")
    decay_after_steps: PositiveInt | None = Field(
        None, description="from this step on, lr falls with 1 / sqrt(step) (Karras et al. 2024), whatever the length"
    )
    cosine_to: NonNegativeFloat | None = Field(
        None,
        description="lr falls to this on a half cosine over all steps; another number of steps is another training",
    )
    clip_gradient: PositiveFloat | None = Field(None, description="gradients of a larger norm are scaled down to this")
    ema_half_life_images: PositiveFloat = Field(
        500_000, description="of the averaged weights that draw, in images seen"
    )
    ema_rampup: Fraction = Field(0.05, description="half-life is at most this share of the images seen so far")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="of the network's arithmetic in training")
    compile: bool = Field(True, description="torch.compile, on a GPU only")
    augment: bool = Field(True, description="eight flips and rotations")
    crop_px: PositiveInt | None = Field(
        None,
        description="a random crop of each patch is learned from; a network with self-attention then draws tiles of this size,"
        " or larger ones up to twice it",
    )
    crop_context: bool = Field(
        True,
        description="with `crop_px`: of the condition `context`, the window that is cropped of the patch; false: all of it,"
        " resized to the crop (URCDM's code)",
    )
    start: Annotated[str | None, NO_BYTES] = Field(
        None,
        min_length=1,
        description="begin with the weights of this model (fine-tuning): the folder of another run's, or the name of one that"
        " ships; its normalisation is kept. It may be shown fewer pictures (`conditions`)",
    )
    seed: int = Field(1, description="of the weights at first, the order of patches, and their noise")
    checkpoint_every: Annotated[PositiveInt, NO_BYTES] = Field(
        500, description="steps from one checkpoint to the next: what a killed job loses at most"
    )
    log_every: Annotated[PositiveInt, NO_BYTES] = Field(50, description="steps from one line of the log to the next")
    validate_every: Annotated[PositiveInt, NO_BYTES] = Field(
        500, description="steps from one validation loss to the next"
    )
    validation_images: PositiveInt = Field(64, description="held-out patches in a validation loss")
    sample_every: Annotated[PositiveInt, NO_BYTES] = Field(5000, description="steps from one sample grid to the next")
    sample_images: PositiveInt = Field(4, description="samples drawn for each mpp in a sample grid")
    diverged_at: Annotated[PositiveFloat, NO_BYTES] = Field(
        100.0, description="a running loss this many times its best ends the training"
    )

    @model_validator(mode="after")
    def micro(self):
        if self.micro_batch and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        if self.batch % (self.gpus * (self.micro_batch or 1)):
            raise ValueError(f"batch {self.batch} cannot be shared evenly by {self.gpus} gpus; take a multiple")
        return self


class LabelEmbeddings(Section):
    """What a model is told of each class, given as a vector in place of one that it learns: by a language model of the class's
    name, a patient's gene expression, an encoder's mean. A network with cross-attention attends to it as a token."""

    file: Annotated[str, NO_BYTES] = Field(
        min_length=1, description="a CSV file without a header: in each row the name of a class, and its numbers"
    )
    width: PositiveInt = Field(description="how many numbers a class has")


class Model(Section):
    """One trained denoiser (or, for a baseline, upscaler): network + objective + conditions + weights."""

    patches: Name = Field(description="the patch set that it learns from")
    network: AnyNetwork = Network()
    objective: AnyObjective = Objective()
    conditions: list[Literal["mpp", "label", "lowres", "context"]] = Field(
        ["mpp"],
        description="what the network is told: its mpp; its class; the same view at a lower resolution; the patch set's wider"
        " view",
    )
    autoencoder: Name | None = Field(
        None,
        description="draw in the latent space of this model (network `vq-f4`), samples and levels alike; default: pictures"
        " themselves",
    )
    label_dropout: Fraction = Field(
        0.1, description="share of samples that are not told their label, for classifier-free guidance"
    )
    label_embeddings: LabelEmbeddings | None = Field(
        None, description="of the condition `label`; default: the model learns a vector for each class"
    )
    classes: list[str] | None = Field(None, description="learn from patches of these classes only; default: all")
    lowres_factor: Annotated[int, Field(ge=2)] | None = Field(
        None, description="how many times lower the resolution of the condition `lowres` is"
    )
    lowres_noise_limit: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="training noise on the condition `lowres` is anything up to this; no level or samples may have more of it"
        " (`lowres_noise`). Least where levels have little: what is shown is then followed closely. 1 is all that there is",
    )
    training: Training

    @model_validator(mode="after")
    def belong_together(self):
        for one in KEYS:
            if one.objective and isinstance(self.network, one) != (self.objective.kind == one.objective):
                raise ValueError(f"network `{one.kind}` and objective `{one.objective}` go together; give both or none")
        if not self.network.denoises and (self.conditions or self.autoencoder):
            raise ValueError(
                f"network `{self.network.kind}` is told nothing; set `conditions: []`, and no `autoencoder`"
            )
        if self.autoencoder and self.training.crop_px:
            raise ValueError("training.crop_px: a model that draws in a latent space sees whole patches; leave it out")
        if getattr(self.objective, "adversarial", None) and (self.training.gpus > 1 or self.training.micro_batch):
            raise ValueError("objective.adversarial sees the whole batch at once: leave `gpus` and `micro_batch` out")
        if len(set(self.conditions)) != len(self.conditions):
            raise ValueError(f"conditions are listed twice: {self.conditions}")
        if ("lowres" in self.conditions) != (self.lowres_factor is not None):
            raise ValueError("the condition `lowres` and the key `lowres_factor` go together; give both or none")
        if self.label_embeddings and "label" not in self.conditions:
            raise ValueError("label_embeddings: the model is told no class: add `label` to `conditions`")
        if self.lowres_noise_limit != 1 and self.lowres_factor is None:
            raise ValueError("lowres_noise_limit: the model is shown no smaller picture: add `lowres` to `conditions`")
        if self.training.start and self.encodes:
            raise ValueError("training.start: an autoencoder starts from published weights: `network: weights:`")
        return self

    @property
    def attends(self) -> bool:
        """Whether what a pixel becomes may depend on the whole patch."""
        return self.network.attends

    @property
    def denoises(self) -> bool:
        """Whether samplers can draw with it."""
        return self.network.denoises

    @property
    def encodes(self) -> bool:
        """Whether other models draw in its latent space."""
        return isinstance(self.network, VQF4)

    @property
    def size_multiple_px(self) -> int:
        """Pictures that the network takes have a multiple of so many px as height and width."""
        return self.latent_px * self.network.multiple_px

    @property
    def latent_px(self) -> int:
        """Px of a picture, along each side, to one of what the network draws."""
        return 4 if self.autoencoder else 1


class WinnerModel(Section):
    """A model like the best of the study (study.winner), trained anew: another class, another length."""

    winner_of: Name = Field(description="the samples whose combinations compete, as study.winner says")
    patches: Name = Field(description="the patch set that it learns from")
    classes: list[str] | None = Field(None, description="learn from patches of these classes only")
    training: dict[str, Any] = Field(default_factory=dict, description="what is other than in the winner's training")


class ImportedModel(Section):
    """A model that another run has trained, or one that ships: its two files are copied, and nothing is trained."""

    path: Annotated[str | None, NO_BYTES] = Field(
        None,
        min_length=1,
        description="its folder, as in results/demo/models/shared; relative to the working directory",
    )
    pretrained: Annotated[str | None, NO_BYTES] = Field(
        None, min_length=1, description="the name of a model that ships: see pretrained/"
    )
    patches: Annotated[Name | None, NO_BYTES] = Field(
        None,
        description="the patch set that it learnt from, where this run has that: then it is asked whether its losses tell these"
        " patches from held-out ones (membership)",
    )

    @model_validator(mode="after")
    def one_of_both(self):
        if bool(self.path) == bool(self.pretrained):
            raise ValueError("give either `path` (a folder) or `pretrained` (the name of a model that ships)")
        return self

    @property
    def source(self) -> str:
        """What models.shipped.folder_of finds it by."""
        return self.path or self.pretrained


KINDS_BY_KEY = {"path": "taken", "pretrained": "taken", "winner_of": "winner"}
AnyModel = Annotated[
    Annotated[Model, Tag("trained")] | Annotated[ImportedModel, Tag("taken")] | Annotated[WinnerModel, Tag("winner")],
    Discriminator(lambda v: next((kind for key, kind in KINDS_BY_KEY.items() if _has(v, key)), "trained")),
]
