"""Constraints: how a level agrees with the one above. Each is one file: its keys in a recipe, what it checks, what it does.

They import nothing but the standard library: a recipe is read, and a drawing planned, where no PyTorch is.
"""

from histogenesis.canvas.constraints.base import Constraint
from histogenesis.canvas.constraints.context import Context
from histogenesis.canvas.constraints.lowres import LowRes
from histogenesis.canvas.constraints.none import NoConstraint
from histogenesis.canvas.constraints.null_space import Averaged, LowResNullSpace, NullSpace, Relaxation

CONSTRAINTS: tuple[type[Constraint], ...] = (NoConstraint, NullSpace, LowRes, LowResNullSpace, Context)

__all__ = [
    "CONSTRAINTS",
    "Averaged",
    "Constraint",
    "Context",
    "LowRes",
    "LowResNullSpace",
    "NoConstraint",
    "NullSpace",
    "Relaxation",
]
