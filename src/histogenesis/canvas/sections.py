"""What drawing reads of a level: plain values under these names. A recipe's sections have them, and so may anything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from histogenesis.canvas.constraints import Constraint
from histogenesis.canvas.joinings import Joining

Precision = Literal["fp32", "bf16"]


class GeneratedLevel(Protocol):
    """However it is made. mpp: um per px; model: the name of what makes it, which is noted in its file."""

    @property
    def mpp(self) -> float: ...
    @property
    def model(self) -> str | None: ...


class UpscaledLevel(GeneratedLevel, Protocol):
    """method: of upscalers.UPSCALERS, with its numbers; tile_px: what is made at once, px of this level."""

    @property
    def method(self) -> Any: ...
    @property
    def tile_px(self) -> int: ...


class Network(Protocol):
    """One of the networks that draw a tile. sampler: as sampling.estimate and sampling.solvers take it."""

    @property
    def model(self) -> str: ...
    @property
    def tile_px(self) -> int: ...
    @property
    def sampler(self) -> Any: ...


class DrawnLevel(GeneratedLevel, Protocol):
    """Drawn by networks, the last of which decides. tile_px, stride_px: px of this level; lowres_noise: 0 to 1."""

    @property
    def networks(self) -> Sequence[Network]: ...
    @property
    def tile_px(self) -> int: ...
    @property
    def stride_px(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def constraint(self) -> Constraint: ...
    @property
    def joining(self) -> Joining: ...
    @property
    def tile_by_tile(self) -> bool: ...
    @property
    def state(self) -> Precision: ...
    @property
    def lowres_noise(self) -> float: ...
    @property
    def start(self) -> Any: ...
    @property
    def skip_background(self) -> Any: ...
