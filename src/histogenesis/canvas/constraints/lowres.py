"""The level above, enlarged and concatenated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from histogenesis.canvas.constraints.base import Constraint, Size


@dataclass(frozen=True)
class LowRes(Constraint):
    """The model is given the level above, enlarged: a model with the condition `lowres`."""

    kind: Literal["lowres"] = "lowres"
    conditions: ClassVar[tuple[str, ...]] = ("lowres",)
    ties: ClassVar[bool] = True

    def block_px(self, ratio: float) -> int:
        return round(ratio)

    def check(self, where: str, size_px: Size, above_px: Size, tile_px: int, stride_px: int) -> None:
        """It enlarges by a whole number, and tiles hold whole pixels of the level above."""
        ratio = size_px[1] // above_px[1]
        if ratio < 2 or size_px != (ratio * above_px[0], ratio * above_px[1]):
            raise ValueError(
                f"{where}: `lowres` wants a canvas that is 2, 3, ... times that of the level above;"
                f" {above_px[0]} x {above_px[1]} -> {size_px[0]} x {size_px[1]} px is not. Use `context` for other ratios"
            )
        for name, length in (("tile_px", tile_px), ("stride_px", stride_px)):
            if length % ratio:
                raise ValueError(f"{where}: {name} {length} is not a multiple of {ratio}, the ratio to the level above")
