"""The nuclei and mucus drops of a phantom: where they are, and how they are stamped on a grid. Lengths are micrometres."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from histogenesis.phantom.anatomy import Anatomy, Box, Glands, Points
from histogenesis.phantom.noise import lattice, uniform

STROMAL, EPITHELIAL, DROP, RED_CELL = range(20, 24)
REACH_UM = 12.0  # nothing that is stamped reaches further from its centre
CHUNK = 2**22  # pixels that are stamped at once


@dataclass
class Cells:
    """Ellipses that are stamped: centres, half axes, direction of `a`, and how strong they stain. Arrays (n,)."""

    y: np.ndarray
    x: np.ndarray
    a: np.ndarray
    b: np.ndarray
    angle: np.ndarray
    stain: np.ndarray

    def select(self, keep: np.ndarray) -> Cells:
        return Cells(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def join(parts: list[Cells]) -> Cells:
    return Cells(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Cells)})


def stromal_candidates(anatomy: Anatomy, box: Box) -> tuple[Cells, np.ndarray]:
    """Nuclei at every place where one might be, as round lymphocytes, and a uniform number (n, 3) for each to decide by."""
    i, j, y, x = lattice((anatomy.seed, STROMAL), 6.4, 0.32, box, 0)
    draw = np.stack([uniform((anatomy.seed, STROMAL), i, j, k) for k in (2, 3, 4)], 1)
    b = 2.6 + 0.9 * draw[:, 1]
    return Cells(y, x, b * (1 + 0.25 * draw[:, 2]), b, 2 * np.pi * draw[:, 2], 0.95 + 0.3 * draw[:, 1]), draw


def red_cells(anatomy: Anatomy, box: Box) -> Cells:
    i, j, y, x = lattice((anatomy.seed, RED_CELL), 6.6, 0.3, box, 0)
    b = 2.9 + 0.5 * uniform((anatomy.seed, RED_CELL), i, j, 2)
    return Cells(y, x, b * 1.1, b, 6.28 * uniform((anatomy.seed, RED_CELL), i, j, 3), np.ones_like(b))


def _around(glands: Glands, spacing_um: float) -> tuple[np.ndarray, ...]:
    """Places around every gland: (gland, place, angle of the ellipse's parameter), each (n,)."""
    perimeter = np.pi * (3 * (glands.a + glands.b) - np.sqrt((3 * glands.a + glands.b) * (glands.a + 3 * glands.b)))
    counts = np.maximum(6, (perimeter / spacing_um).astype(int))
    gland = np.repeat(np.arange(len(glands)), counts)
    place = np.arange(len(gland)) - np.repeat(np.cumsum(counts) - counts, counts)
    return gland, place, 2 * np.pi * place / counts[gland]


def _on_gland(anatomy: Anatomy, glands: Glands, gland, theta, depth_um) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """y, x of places at a depth below each gland's border, and the direction of the border's normal there."""
    a, b, turn = glands.a[gland], glands.b[gland], glands.angle[gland]
    nu, nv = np.cos(theta) / a, np.sin(theta) / b
    norm = np.hypot(nu, nv)
    u, v = a * np.cos(theta) - depth_um * nu / norm, b * np.sin(theta) - depth_um * nv / norm
    y = glands.y[gland] + u * np.sin(turn) + v * np.cos(turn)
    x = glands.x[gland] + u * np.cos(turn) - v * np.sin(turn)
    pulled_y, pulled_x = y, x
    for _ in range(2):  # the place that the warp takes to (y, x)
        warp_y, warp_x = anatomy.warp_um(Points(pulled_y, pulled_x))
        pulled_y, pulled_x = y - warp_y, x - warp_x
    return pulled_y, pulled_x, np.arctan2(nv, nu) + turn


def epithelial(anatomy: Anatomy, glands: Glands) -> Cells:
    """Nuclei of the glands: at the base of their cells, upright; crowded and in two rows where atypia is high."""
    gland, place, theta = _around(glands, 5.2)

    def draw(k: int) -> np.ndarray:
        return uniform((anatomy.seed, EPITHELIAL), glands.key_i[gland], glands.key_j[gland], place, k)

    atypia = anatomy.atypia(Points(glands.y, glands.x))[gland]
    depth = 5.6 + 1.6 * draw(0) + (draw(1) < 0.15 + 0.5 * atypia) * (2 + 5 * draw(2))
    y, x, normal = _on_gland(anatomy, glands, gland, theta + 0.05 * (draw(3) - 0.5), depth)
    a = 3.4 + 1.0 * draw(4) + 1.5 * atypia
    b = 2.2 + 0.5 * draw(5) + 0.3 * atypia
    cells = Cells(y, x, a, b, normal + 0.5 * (draw(6) - 0.5), 0.62 + 0.25 * draw(7) + 0.2 * atypia)
    return cells.select(draw(8) < 0.94)


def drops(anatomy: Anatomy, glands: Glands) -> Cells:
    """Mucus of goblet cells, between the nuclei and the lumen."""
    gland, place, theta = _around(glands, 11.5)

    def draw(k: int) -> np.ndarray:
        return uniform((anatomy.seed, DROP), glands.key_i[gland], glands.key_j[gland], place, k)

    y, x, normal = _on_gland(anatomy, glands, gland, theta + 0.12 * (draw(0) - 0.5), 12.5 + 2 * draw(1))
    b = 3.4 + 1.3 * draw(2)
    cells = Cells(y, x, b * (1.15 + 0.4 * draw(3)), b, normal, np.ones_like(b))
    atypia = anatomy.atypia(Points(glands.y, glands.x))[gland]
    return cells.select(draw(4) < (1.25 * glands.goblet[gland]) * (1 - 0.8 * atypia))


def stamp(shape: tuple[int, int], origin_um: tuple[float, float], mpp: float, cells: Cells) -> tuple[np.ndarray, ...]:
    """Stamp cells on a grid whose first pixel's centre is `origin_um`: cover and stain, (h, w) float32.

    Cover goes from 0 to 1 over an edge of one pixel, or 0.6 um; stain is cover times the cell's own, darker to its rim. Where
    cells overlap the stronger one shows, so the order does not matter.
    """
    cover, stain = (np.zeros(shape[0] * shape[1], np.float32) for _ in range(2))
    edge = max(0.6, mpp)
    row, column = (cells.y - origin_um[0]) / mpp, (cells.x - origin_um[1]) / mpp
    radius = (cells.a + edge) / mpp + 1
    inside = (row > -radius) & (row < shape[0] + radius) & (column > -radius) & (column < shape[1] + radius)
    for low, high in ((0.0, 4.2), (4.2, np.inf)):
        some = np.flatnonzero(inside & (cells.a > low) & (cells.a <= high))
        if not len(some):
            continue
        k = int(np.ceil(radius[some].max()))
        offset = np.arange(-k, k + 1)
        for part in np.array_split(some, -(-len(some) * (2 * k + 1) ** 2 // CHUNK)):
            r = np.rint(row[part]).astype(np.int64)[:, None] + offset
            c = np.rint(column[part]).astype(np.int64)[:, None] + offset
            dy = ((r - row[part, None]) * mpp).astype(np.float32)[:, :, None]
            dx = ((c - column[part, None]) * mpp).astype(np.float32)[:, None, :]
            cos, sin = (f(cells.angle[part]).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
            a, b = (n[part].astype(np.float32)[:, None, None] for n in (cells.a, cells.b))
            q = np.sqrt(((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2)
            soft = np.clip((1 - q) * (b / np.float32(edge)) + np.float32(0.5), 0, 1)
            soft *= ((r >= 0) & (r < shape[0]))[:, :, None] & ((c >= 0) & (c < shape[1]))[:, None, :]
            keep = soft > 0
            index = np.broadcast_to(r[:, :, None] * shape[1] + c[:, None, :], soft.shape)[keep]
            strength = cells.stain[part].astype(np.float32)[:, None, None] * (0.8 + 0.3 * np.minimum(q, 1) ** 3)
            np.maximum.at(cover, index, soft[keep])
            np.maximum.at(stain, index, (soft * strength)[keep])
    return cover.reshape(shape), stain.reshape(shape)
