"""Objectives: what a network predicts, and which noise it learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, Tag, create_model, model_validator

from histogenesis.recipe.base import NO_BYTES, Section, by_kind

SHA256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class _Continuous(Section):
    """Any noise level is learnt; how often each, is normal in ln sigma."""

    kind: str
    sigma_data: PositiveFloat = Field(0.5, description="standard deviation that training images are normalised to")
    p_mean: float = Field(-1.2, description="mean of ln sigma in training")
    p_std: PositiveFloat = Field(1.2, description="standard deviation of ln sigma in training")
    sigma_min: PositiveFloat | None = Field(
        None, description="training noise is at least this: what would be less, is this; default: no bound"
    )
    sigma_limit: PositiveFloat | None = Field(
        None,
        description="training noise is at most this: what would be more, is this. For models that always start from a level"
        " above, noised (`start`): no level may start above it. Default: no bound",
    )

    @model_validator(mode="after")
    def rising(self):
        if self.sigma_min and self.sigma_limit and self.sigma_min >= self.sigma_limit:
            raise ValueError(f"sigma_min {self.sigma_min:g} is not below sigma_limit {self.sigma_limit:g}")
        return self


class Objective(_Continuous):
    """What the network predicts, and which noise levels it learns."""

    kind: Literal["edm"] = "edm"


class Flow(_Continuous):
    """The network predicts the picture, and learns by the error of the flow's velocity (x-prediction, v-loss: Li and He 2025).

    Made for `network: {kind: jit}`, whose large tokens cannot hold noise, but any network may learn it.
    """

    kind: Literal["flow"]
    p_mean: float = Field(
        0.8,
        description="mean of ln sigma in training; Li and He's -P_mean, and ln 2 more for 512 px (their noise_scale)",
    )
    p_std: PositiveFloat = Field(0.8, description="standard deviation of ln sigma in training")


class _Betas(Section):
    """beta_1 to beta_T by their numbers; beta is the share of the variance that a step replaces by noise."""

    form: Literal["linear", "sqrt-linear", "cosine"] = Field(
        "linear",
        description="how they rise: evenly (Ho et al. 2020), evenly in their root (Rombach et al. 2022), or as Nichol and"
        " Dhariwal 2021, where the numbers are bounds",
    )

    @model_validator(mode="after")
    def rising(self):
        first, last = getattr(self, "from"), getattr(self, "to")  # noqa: B009, which are made below
        if first >= last:
            raise ValueError(f"from {first:g} is not below to {last:g}")
        return self


if TYPE_CHECKING:
    Betas = _Betas
else:  # `from` is a word of Python's
    numbers = {"from": (Annotated[float, Field(ge=0, lt=1)], Field(description="the first and least"))}
    numbers["to"] = (Annotated[float, Field(gt=0, lt=1)], Field(description="the last and largest"))
    Betas = create_model("Betas", __base__=_Betas, __doc__=_Betas.__doc__, **numbers)


class Prediction(Section):
    """The network predicts noise, velocity or picture, at T discrete steps of a schedule. Pictures are in [-1, 1]."""

    kind: Literal["eps", "v", "x0"]
    schedule: Literal["cosine", "linear", "continuous-linear"] | Betas = Field(
        "cosine",
        description="noise of the steps that are learned: Nichol and Dhariwal 2021 (`cosine`), Ho et al. 2020 (`linear`), or"
        " Chen et al. 2021 (`continuous-linear`); or by its numbers",
    )
    timesteps: Annotated[int, Field(ge=2)] = Field(1000, description="how many steps are learned")
    min_snr: PositiveFloat | None = Field(None, description="gamma of min-SNR weighting (Hang et al. 2023: 5)")
    loss: Literal["mse", "huber"] = Field(
        "mse", description="of the error in eps, v or x0; huber: half its square up to 1, then its size less 1/2"
    )
    noise_cond: Literal["step", "log-snr"] = Field(
        "step",
        description="how the network is conditioned on the noise: by the step t (of 1000), or ln(alpha_bar / (1 - alpha_bar))",
    )

    @property
    def sigma_data(self) -> None:
        """Training images are not normalised by their own spread."""
        return None


class SuperResolution(Section):
    """The patch from its own average over 2 x 2 pixels: mean absolute error (Lim et al. 2017)."""

    kind: Literal["super-resolution"]
    sigma_data: PositiveFloat = Field(0.5, description="standard deviation that training images are normalised to")


class Perceptual(Section):
    """Squared distance of a fixed network's features (VGG's: LPIPS, Zhang et al. 2018). This project ships no weights."""

    file: Annotated[str, NO_BYTES] = Field(
        min_length=1,
        description="TorchScript: pictures (B, 3, H, W) in 0..255 to features; vgg16.pt of StyleGAN2-ADA gives LPIPS",
    )
    sha256: SHA256 = Field(description="of the file: another one is refused")
    weight: PositiveFloat = Field(1.0, description="of this loss beside the mean absolute error")


class Adversarial(Section):
    """A patch discriminator with hinge loss and VQGAN's adaptive weight (Esser et al. 2021, eqs. 6 and 7)."""

    weight: PositiveFloat = Field(0.8, description="times the adaptive weight")
    start_step: int = Field(0, ge=0, description="before this step there is none")
    channels: PositiveInt = Field(64, description="of the discriminator's first layer; each next has twice as many")
    layers: PositiveInt = Field(3, description="how often the discriminator halves the picture")


class Autoencoding(Section):
    """The patch itself, through a codebook: mean absolute error (van den Oord et al. 2017). Pictures are in [-1, 1]."""

    kind: Literal["autoencoder"]
    commitment: PositiveFloat = Field(
        0.25,
        description="weight of the commitment loss, which keeps latents near their codes (van den Oord et al. 2017: 0.25)",
    )
    perceptual: Perceptual | None = None
    adversarial: Adversarial | None = None

    @property
    def sigma_data(self) -> None:
        """Training images are not normalised by their own spread."""
        return None


AnyObjective = Annotated[
    Annotated[Objective, Tag("edm")]
    | Annotated[Flow, Tag("flow")]
    | Annotated[Prediction, Tag("eps")]
    | Annotated[Prediction, Tag("v")]
    | Annotated[Prediction, Tag("x0")]
    | Annotated[Autoencoding, Tag("autoencoder")]
    | Annotated[SuperResolution, Tag("super-resolution")],
    by_kind("edm", "flow", "eps", "v", "x0", "autoencoder", "super-resolution"),
]
