"""No constraint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from histogenesis.canvas.constraints.base import Constraint


@dataclass(frozen=True)
class NoConstraint(Constraint):
    kind: Literal["none"] = "none"
