"""Joinings: how the tiles of one level agree. Each is one file: its keys in a recipe, what it checks, which tiles there are.

They import nothing but the standard library and NumPy: a recipe is read, and a drawing planned, where no PyTorch is.
"""

from histogenesis.canvas.joinings.average import Average
from histogenesis.canvas.joinings.base import Joining, Layout
from histogenesis.canvas.joinings.grid_shift import GridShift
from histogenesis.canvas.joinings.independent import Independent
from histogenesis.canvas.joinings.inpaint import Inpaint

JOININGS: tuple[type[Joining], ...] = (GridShift, Independent, Average, Inpaint)

__all__ = ["JOININGS", "Average", "GridShift", "Independent", "Inpaint", "Joining", "Layout"]
