"""The null space of averaging: Harb et al. 2024, who relax DDNM (Wang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from histogenesis.canvas.constraints.base import Constraint

if TYPE_CHECKING:
    from torch import Tensor

FACTOR = 2


@dataclass(frozen=True)
class Relaxation:
    """Where the null-space constraint lets go (Harb et al.): give exactly one of the two.

    A level keeps the noise level alone: a number of steps means another one for every sampler.
    """

    sigma: float | None = field(
        default=None,
        metadata={
            "ge": 0,
            "description": "steps at or below this noise level run free: 0 is DDNM, 0.2 to 0.3 adds detail",
        },
    )
    steps: int | None = field(
        default=None,
        metadata={
            "ge": 0,
            "description": "the last r sampler steps run free, as the paper counts; it becomes the noise level that it means,"
            " and is refused where that is above 1, as the level above would then show no more",
        },
    )

    def __post_init__(self):
        if (self.steps is None) == (self.sigma is None):
            raise ValueError("relaxation: give either `steps` or `sigma`")


@dataclass(frozen=True)
class Averaged(Constraint):
    """Average pooling of this level gives the level above (Harb et al., eq. 21), until it is let go."""

    relaxation: Relaxation = Relaxation(sigma=0)
    doubles: ClassVar[bool] = True
    ties: ClassVar[bool] = True
    of_pixels: ClassVar[bool] = True

    @property
    def words(self) -> str:
        sigma = self.relaxation.sigma
        return f"{self.kind}, {f'free below sigma {sigma:.3g}' if sigma else 'r = 0'}"

    def block_px(self, ratio: float) -> int:
        return FACTOR

    def projects(self, sigma: float) -> bool:
        return sigma > self.relaxation.sigma

    def apply(self, denoised_bchw: Tensor, y_bchw: Tensor) -> Tensor:
        from histogenesis.canvas.averaging import project  # PyTorch, which a recipe is read without

        return project(denoised_bchw, y_bchw, FACTOR)


@dataclass(frozen=True)
class NullSpace(Averaged):
    """Average pooling of this level gives the level above (Harb et al., eq. 21)."""

    kind: Literal["null-space"] = "null-space"


@dataclass(frozen=True)
class LowResNullSpace(Averaged):
    """As `null-space`, and the model is given the level above, enlarged, as with `lowres`."""

    kind: Literal["lowres-null-space"] = "lowres-null-space"
    conditions: ClassVar[tuple[str, ...]] = ("lowres",)
