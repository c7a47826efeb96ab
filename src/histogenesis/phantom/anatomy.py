"""Where things are in a phantom: outline, zones, glands, vessels, fat, lymphoid follicles. Lengths are micrometres.

Anatomy is loosely that of a colon polyp: mucosa with glands at the rim, fibrous stroma with vessels and fat in the core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from histogenesis.phantom.noise import field, field_at, lattice, uniform
from histogenesis.recipe import Phantom

Box = tuple[float, float, float, float]  # y0, x0, y1, x1

# Layers of randomness. Each is used for one thing only.
BLOB, OUTLINE, MUCOSA, FAT, FAT_CELL, FOLLICLE, VESSEL, GLAND, WARP_Y, WARP_X, ATYPIA = range(1, 12)


class Grid:
    """Positions on a grid: fields are (h, w)."""

    def __init__(self, y_um: np.ndarray, x_um: np.ndarray):
        self.y, self.x = y_um[:, None], x_um[None]
        self._axes = (y_um, x_um)
        self.box: Box = (y_um[0], x_um[0], y_um[-1], x_um[-1])

    def noise(self, seed: tuple[int, int], scale_um: float) -> np.ndarray:
        return field(seed, scale_um, *self._axes)


class Points:
    """Single positions: fields are (n,)."""

    def __init__(self, y_um: np.ndarray, x_um: np.ndarray):
        self.y, self.x = y_um, x_um
        self.box = (y_um.min(), x_um.min(), y_um.max(), x_um.max()) if len(y_um) else (0.0, 0.0, 0.0, 0.0)

    def noise(self, seed: tuple[int, int], scale_um: float) -> np.ndarray:
        return field_at(seed, scale_um, self.y, self.x)


def smooth(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


@dataclass
class Ovals:
    """Ellipses: centres, half axes, and the direction of `a`. All arrays (n,)."""

    y: np.ndarray
    x: np.ndarray
    a: np.ndarray
    b: np.ndarray
    angle: np.ndarray

    def select(self, keep: np.ndarray) -> Ovals:
        return type(self)(**{name: value[keep] for name, value in vars(self).items()})

    def __len__(self) -> int:
        return len(self.y)


@dataclass
class Glands(Ovals):
    """Crypts: ellipses with an epithelium of some thickness around a lumen. `goblet` in [0, 1): how many mucus cells."""

    thickness: np.ndarray
    goblet: np.ndarray
    key_i: np.ndarray
    key_j: np.ndarray


class Anatomy:
    """The layout of one phantom; every method is a function of the options and a position."""

    def __init__(self, options: Phantom):
        self.seed = options.seed
        self.height_um, self.width_um = options.height_mm * 1000, options.width_mm * 1000
        columns, rows = (min(3, max(1, round(n / 2200))) for n in (self.width_um, self.height_um))
        i, j = (n.ravel() for n in np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"))
        cell_y, cell_x = self.height_um / rows, self.width_um / columns

        def draw(k: int) -> np.ndarray:
            return uniform((self.seed, BLOB), i, j, k)

        size = 0.84 + 0.12 * draw(0)
        angle = 0.3 * (2 * draw(1) - 1)
        y = (i + 0.5 + 0.05 * (2 * draw(2) - 1)) * cell_y
        x = (j + 0.5 + 0.05 * (2 * draw(3) - 1)) * cell_x
        self.blobs = Ovals(y, x, 0.44 * cell_x * size, 0.44 * cell_y * size, angle)
        keep = (draw(4) < 0.85) | (np.arange(len(i)) == 0)  # here and there a piece is missing, but never all
        self.blobs = self.blobs.select(keep)
        self.radius_um = float(0.44 * min(cell_x, cell_y))

    def outline_um(self, at: Grid | Points, fine: bool = True) -> np.ndarray:
        """Roughly the distance into the tissue: positive inside. Without `fine`, the ragged edge is left out."""
        depth: np.ndarray | float = -np.inf
        for y, x, a, b, angle in zip(*(vars(self.blobs)[n] for n in ("y", "x", "a", "b", "angle"))):
            u, v = _turned(at, y, x, angle)
            depth = np.maximum(depth, (1 - np.sqrt((u / a) ** 2 + (v / b) ** 2)) * min(a, b))
        r = self.radius_um
        depth = depth + 0.09 * r * at.noise((self.seed, OUTLINE), 0.55 * r)
        depth = depth + 0.045 * r * at.noise((self.seed, OUTLINE), 0.17 * r)
        border = np.minimum(np.minimum(at.y, self.height_um - at.y), np.minimum(at.x, self.width_um - at.x))
        depth = depth - 1.2 * np.maximum(0.22 * r - border, 0)  # tissue keeps off the border of the slide
        if fine:
            depth = depth + 8 * at.noise((self.seed, OUTLINE), 46) + 2.5 * at.noise((self.seed, OUTLINE), 13)
        return np.asarray(depth, np.float32)

    def mucosa(self, at: Grid | Points, depth_um: np.ndarray) -> np.ndarray:
        """1 in the mucosa (the rim), 0 in the core."""
        reach = 0.42 * self.radius_um * (1 + 0.45 * at.noise((self.seed, MUCOSA), 900))
        return smooth((reach - depth_um) / 80 + 0.5 + 0.5 * at.noise((self.seed, MUCOSA), 70))

    def fat_zone(self, at: Grid | Points, mucosa: np.ndarray) -> np.ndarray:
        return (at.noise((self.seed, FAT), 420) > 1.0) & (mucosa < 0.3)

    def fat_cells(self, box: Box) -> Ovals:
        """Adipocytes, which press on each other."""
        i, j, y, x = lattice((self.seed, FAT_CELL), 54, 0.2, box, 50)
        at = Points(y, x)
        depth = self.outline_um(at)
        keep = self.fat_zone(at, self.mucosa(at, depth)) & (depth > 60)
        r = 33 + 7 * uniform((self.seed, FAT_CELL), i, j, 2)
        return Ovals(y, x, r, r, np.zeros_like(r)).select(keep)

    def follicles(self, box: Box) -> Ovals:
        """Lymphoid follicles, at the border of mucosa and core as much as anywhere."""
        i, j, y, x = lattice((self.seed, FOLLICLE), 800, 0.3, box, 330)
        a = 110 + 130 * uniform((self.seed, FOLLICLE), i, j, 2) ** 2
        b = a * (0.65 + 0.3 * uniform((self.seed, FOLLICLE), i, j, 3))
        angle = np.pi * uniform((self.seed, FOLLICLE), i, j, 4)
        keep = (uniform((self.seed, FOLLICLE), i, j, 5) < 0.5) & (self.outline_um(Points(y, x)) > 0.8 * a)
        return Ovals(y, x, a, b, angle).select(keep)

    def vessels(self, box: Box) -> Ovals:
        """Blood vessels of the core, cut across or aslant."""
        i, j, y, x = lattice((self.seed, VESSEL), 420, 0.33, box, 200)
        b = 16 + 50 * uniform((self.seed, VESSEL), i, j, 2) ** 2
        a = b * (1.05 + 1.3 * uniform((self.seed, VESSEL), i, j, 3) ** 2)
        angle = np.pi * uniform((self.seed, VESSEL), i, j, 4)
        at = Points(y, x)
        depth = self.outline_um(at)
        keep = (uniform((self.seed, VESSEL), i, j, 5) < 0.75) & (depth > a + 60)
        return Ovals(y, x, a, b, angle).select(keep & (self.mucosa(at, depth) < 0.4))

    def glands(self, box: Box) -> Glands:
        """Crypts of the mucosa; they point to the surface."""
        i, j, y, x = lattice((self.seed, GLAND), 92, 0.2, box, 130)

        def draw(k: int) -> np.ndarray:
            return uniform((self.seed, GLAND), i, j, k)

        at = Points(y, x)
        depth = self.outline_um(at)
        b = 27 + 13 * draw(2)
        a = b * (1.05 + 1.1 * draw(3) ** 1.5)
        keep = (depth > 0.8 * a + 14) & (self.mucosa(at, depth) > 0.55) & (draw(4) < 0.93)
        i, j, y, x, a, b = i[keep], j[keep], y[keep], x[keep], a[keep], b[keep]
        step, centre = 25.0, self.outline_um(Points(y, x), fine=False)
        slope_y = self.outline_um(Points(y + step, x), fine=False) - centre
        slope_x = self.outline_um(Points(y, x + step), fine=False) - centre
        angle = np.arctan2(slope_y, slope_x) + 0.5 * (2 * draw(5) - 1)
        return Glands(y, x, a, b, angle, thickness=17 + 7 * draw(6), goblet=draw(7), key_i=i, key_j=j)

    def warp_um(self, at: Grid | Points) -> tuple[np.ndarray, np.ndarray]:
        """How far, in y and x, tissue is pulled: makes ellipses look grown."""
        y, x = (
            9 * at.noise((self.seed, layer), 62) + 2.2 * at.noise((self.seed, layer), 17) for layer in (WARP_Y, WARP_X)
        )
        return y, x

    def atypia(self, at: Grid | Points) -> np.ndarray:
        """0 to 1: how crowded, tall and dark the nuclei of glands are."""
        return smooth(0.4 + 0.35 * at.noise((self.seed, ATYPIA), 1100))


def _turned(at, y: float, x: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across `angle`, from (y, x)."""
    c, s = np.cos(angle), np.sin(angle)
    return (at.x - x) * c + (at.y - y) * s, (at.y - y) * c - (at.x - x) * s


def oval_depth_um(u: np.ndarray, v: np.ndarray, a: float, b: float) -> np.ndarray:
    """Roughly the distance into an ellipse, from coordinates along its axes: first order, exact at its border."""
    q = np.sqrt((u / a) ** 2 + (v / b) ** 2) + 1e-6
    return (1 - q) * q / np.sqrt((u / (a * a)) ** 2 + (v / (b * b)) ** 2 + 1e-12)
