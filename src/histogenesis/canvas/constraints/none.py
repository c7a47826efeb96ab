"""No constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from histogenesis.canvas.constraints.base import Constraint


@dataclass(frozen=True)
class NoConstraint(Constraint):
    """The level is drawn as if nothing lay above it."""

    kind: Literal["none"] = "none"
    follows: ClassVar[bool] = False
