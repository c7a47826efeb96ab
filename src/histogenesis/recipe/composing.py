"""What a level is composed of: sampler, constraint and joining. Independent choices; a paper is one combination of them.

Constraints and joinings have their keys beside what they do: histogenesis/canvas/constraints and histogenesis/canvas/joinings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from histogenesis.canvas import constraints as beside
from histogenesis.canvas import joinings
from histogenesis.core.sigmas import karras_sigmas, release_sigma
from histogenesis.recipe.base import Fraction, Section, section_of

RELEASED_AT_MOST = 1.0  # twice the spread of the pictures: above, a step count means independent levels


class Threshold(Section):
    """Estimates of the clean image are kept within what a picture can be, at every evaluation (Saharia et al. 2022)."""

    kind: Literal["static", "dynamic"] = Field(
        "dynamic", description="`static`: cut off at black and white; `dynamic`: scaled by a percentile first"
    )
    percentile: Annotated[float, Field(gt=0, le=1)] = Field(0.995, description="of the absolute values, for `dynamic`")


class EpsilonScaling(Section):
    """The predicted noise is divided by k t + b, t counting the sampler's steps down to 1 (Ning et al. 2024)."""

    k: float = Field(0.0, description="how the divisor grows with the steps that are left; 0 divides by b throughout")
    b: PositiveFloat = Field(1.0, description="1 (with k = 0) changes nothing")


class Sampler(Section):
    """Which solver, over which noise levels."""

    kind: Literal["heun", "euler", "dpmpp-2m", "ddim", "ddpm"] = Field(
        "heun",
        description="`heun` (second order, 2 evaluations a step), `dpmpp-2m` (second order, 1), `euler`, `ddim`, `ddpm`",
    )
    steps: PositiveInt = Field(18, description="how many steps from noise to picture")
    timestep_spacing: Literal["karras", "schedule"] | None = Field(
        None,
        description="where steps begin: from sigma_max to sigma_min (`karras`), or at steps of the model's own schedule, evenly"
        " spaced (`schedule`); default: the latter for `ddim` and `ddpm`, if the model has one",
    )
    sigma_min: PositiveFloat = Field(0.002, description="lowest noise level (`karras`)")
    sigma_max: PositiveFloat = Field(80.0, description="highest noise level (`karras`)")
    rho: PositiveFloat = Field(
        7.0, description="how noise levels are spread: higher means more of them at low noise (`karras`)"
    )
    eta: Fraction | None = Field(None, description="of `ddim`: 0 (the default) is deterministic, 1 is ancestral")
    variance: Literal["posterior", "beta"] | None = Field(None, description="of `ddpm`; default: the posterior's")
    guided_sigmas: tuple[NonNegativeFloat, PositiveFloat] | None = Field(
        None,
        description="low, high: guidance is applied at noise levels above the first and up to the second; elsewhere the"
        " conditional model is asked alone, once (Kynkäänniemi et al. 2024: 0.19 to 1.61); default: at all",
    )
    epsilon_scaling: EpsilonScaling | None = None
    threshold: Threshold | None = Field(None, description="default: estimates are taken as they are")

    @property
    def on_schedule(self) -> bool:
        """Whether a model's own steps are taken, if it has any."""
        spacing = self.timestep_spacing
        return spacing == "schedule" or (spacing is None and self.kind in ("ddim", "ddpm"))

    def step_sigmas(self, start: float | None = None) -> list[float]:
        """The noise levels at which the steps begin, then 0: of Karras et al., from `start` on where that is given."""
        return karras_sigmas(self.steps, self.sigma_min, min(self.sigma_max, start or self.sigma_max), self.rho)

    @property
    def solver(self) -> dict:
        """What histogenesis.sampling.solvers.solver_evaluations takes."""
        return self.model_dump(exclude={"threshold", "epsilon_scaling", "guided_sigmas"})

    @model_validator(mode="after")
    def belong_together(self):
        for key, kind in (("eta", "ddim"), ("variance", "ddpm")):
            if getattr(self, key) is not None and self.kind != kind:
                raise ValueError(f"`{key}` belongs to `kind: {kind}`, not to `{self.kind}`; leave it out")
        if self.guided_sigmas and self.guided_sigmas[0] >= self.guided_sigmas[1]:
            raise ValueError("`guided_sigmas`: the lower noise level comes first, [0.19, 1.61] for example")
        return self


def check_guided(sampler: Sampler, guidance: float) -> None:
    """Raises ValueError where an interval is given for a guidance that is none."""
    if sampler.guided_sigmas and not guidance:
        raise ValueError(
            "sampler.guided_sigmas: there is no `guidance` to apply there; set its w, or leave the interval out"
        )


class Start(Section):
    """A level begins from the level above, enlarged and noised, and not from noise alone: fewer evaluations are enough."""

    sigma: PositiveFloat = Field(
        description="the noise level of the first step, 1 to 5 where pictures have a spread of 0.5; the sampler's steps lie"
        " between this (in place of sigma_max) and sigma_min"
    )


def released(steps: int, sampler: Sampler, start: Start | None) -> float:
    """The noise level at which the last `steps` steps begin. Raises ValueError where they mean none, or too high a one."""
    if not steps:
        return 0.0
    if sampler.on_schedule:
        raise ValueError(
            "relaxation: a model's own schedule decides at which noise level a step begins: give `sigma`, 0.2 to 0.3"
        )
    sigma = release_sigma(sampler.step_sigmas(start.sigma if start else None), steps)
    if sigma > RELEASED_AT_MOST:
        raise ValueError(
            f"relaxation: the last {steps} of {sampler.steps} steps begin at sigma {sigma:.3g}, where noise hides all that the"
            " level above shows, so the level would not follow it: give `sigma` (0.2 to 0.3), or fewer steps"
        )
    return sigma


if TYPE_CHECKING:
    from histogenesis.canvas.constraints import Constraint, Context, LowRes, NoConstraint, NullSpace, Relaxation
    from histogenesis.canvas.joinings import Average, GridShift, Independent, Inpaint, Joining
else:
    Relaxation = section_of(beside.Relaxation)
    CONSTRAINTS = {one.kind: section_of(one, relaxation=Relaxation) for one in beside.CONSTRAINTS}
    JOININGS = {one.kind: section_of(one) for one in joinings.JOININGS}

    Constraint = Annotated[Union[tuple(CONSTRAINTS.values())], Field(discriminator="kind")]  # noqa: UP007, as many as there are
    Joining = Annotated[Union[tuple(JOININGS.values())], Field(discriminator="kind")]  # noqa: UP007
    NoConstraint = CONSTRAINTS["none"]
    NullSpace = CONSTRAINTS["null-space"]
    LowRes = CONSTRAINTS["lowres"]
    Context = CONSTRAINTS["context"]
    GridShift = JOININGS["grid-shift"]
    Independent = JOININGS["independent"]
    Average = JOININGS["average"]
    Inpaint = JOININGS["inpaint"]
