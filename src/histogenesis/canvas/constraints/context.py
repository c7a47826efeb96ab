"""A wider view of the level above, concatenated (URCDM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from histogenesis.canvas.constraints.base import Constraint


@dataclass(frozen=True)
class Context(Constraint):
    """The model is given a wider view of the level above about its tile: a model with the condition `context` (URCDM)."""

    kind: Literal["context"]
    conditions: ClassVar[tuple[str, ...]] = ("context",)
