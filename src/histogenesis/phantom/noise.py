"""Randomness that is a function of (seed, layer, position) alone, so that any part of a phantom can be made by itself."""

from __future__ import annotations

import numpy as np
from scipy import sparse

Seed = tuple[int, int]  # the phantom's seed, and a layer: each use of randomness has one of its own
_STD = 0.277  # standard deviation of a cubic B-spline surface over uniform numbers in [-1, 1]: 151/315 / sqrt(3)


def _mix(h: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def uniform(seed: Seed, *indices: np.ndarray | int) -> np.ndarray:
    """Uniform numbers in [0, 1), float64: a hash of the seed and of integers, which may be arrays (broadcast)."""
    state = np.array([seed[0] * 1_000_003 + seed[1] * 7919 + 1], np.int64).view(np.uint64)
    with np.errstate(over="ignore"):
        h = _mix(state * np.uint64(0x9E3779B97F4A7C15))
        for index in indices:
            h = _mix((h ^ np.asarray(index, np.int64).view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15))
    return (h >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _spline(t: np.ndarray) -> list[np.ndarray]:
    """The four weights of the uniform cubic B-spline at fraction t."""
    t = t.astype(np.float32)
    u = 1 - t
    return [u * u * u / 6, (3 * t * t * t - 6 * t * t + 4) / 6, (3 * u * u * u - 6 * u * u + 4) / 6, t * t * t / 6]


def field(seed: Seed, scale_um: float, y_um: np.ndarray, x_um: np.ndarray) -> np.ndarray:
    """Smooth noise of about unit variance on the grid of y_um (h) and x_um (w): (h, w) float32. `scale_um`: its grain.

    A cubic B-spline surface over a lattice of hashed numbers: separable, so fast on a grid, and no axes show.
    """
    (cell_y, part_y), (cell_x, part_x) = _cells(y_um, scale_um), _cells(x_um, scale_um)
    first_y, first_x = cell_y[0] - 1, cell_x[0] - 1
    rows, columns = np.arange(first_y, cell_y[-1] + 3), np.arange(first_x, cell_x[-1] + 3)
    numbers = (uniform(seed, rows[:, None], columns[None]) * 2 - 1).astype(np.float32) * np.float32(1 / _STD)
    along_x = sum(numbers[:, cell_x - 1 - first_x + k] * w for k, w in enumerate(_spline(part_x)))
    taps = (cell_y - 1 - first_y)[:, None] + np.arange(4)
    starts = np.arange(0, taps.size + 1, 4)
    weights = sparse.csr_matrix((np.stack(_spline(part_y), 1).ravel(), taps.ravel(), starts), (len(y_um), len(rows)))
    return weights @ along_x


def field_at(seed: Seed, scale_um: float, y_um: np.ndarray, x_um: np.ndarray) -> np.ndarray:
    """The noise of `field` at single points: float32, in the shape of y_um."""
    (cell_y, part_y), (cell_x, part_x) = _cells(y_um, scale_um), _cells(x_um, scale_um)
    weights_x = _spline(part_x)
    out = np.zeros(np.shape(y_um), np.float32)
    for j, wy in enumerate(_spline(part_y)):
        for k, wx in enumerate(weights_x):
            out += wy * wx * (uniform(seed, cell_y - 1 + j, cell_x - 1 + k) * 2 - 1).astype(np.float32)
    return out * np.float32(1 / _STD)


def _cells(position_um: np.ndarray, scale_um: float) -> tuple[np.ndarray, np.ndarray]:
    cell = np.floor(position_um / scale_um)
    return cell.astype(np.int64), position_um / scale_um - cell


def line_noise(seed: Seed, t: np.ndarray) -> np.ndarray:
    """Noise along a line, of about unit variance and grain 1, at any t; it repeats after 4096."""
    table = (uniform(seed, np.arange(4096)) * 2 - 1).astype(np.float32) * np.float32(2.0)
    cell = np.floor(t)
    part = (t - cell).astype(np.float32)
    part = part * part * (3 - 2 * part)
    cell = cell.astype(np.int64)
    left = table[cell & 4095]
    return left + part * (table[(cell + 1) & 4095] - left)


def lattice(seed: Seed, pitch_um: float, jitter: float, box_um: tuple[float, float, float, float], margin_um: float):
    """Jittered lattice points in a box (y0, x0, y1, x1) widened by a margin.

    Returns integer rows i, columns j (n) and positions y, x in um (n). A point is the same whatever box it is seen from.
    """
    y0, x0, y1, x1 = box_um
    reach = margin_um + pitch_um
    i = np.arange(int(np.floor((y0 - reach) / pitch_um)), int(np.ceil((y1 + reach) / pitch_um)) + 1)
    j = np.arange(int(np.floor((x0 - reach) / pitch_um)), int(np.ceil((x1 + reach) / pitch_um)) + 1)
    i, j = (n.ravel() for n in np.meshgrid(i, j, indexing="ij"))
    y = (i + 0.5 + jitter * (2 * uniform(seed, i, j, 0) - 1)) * pitch_um
    x = (j + 0.5 * (i & 1) + 0.25 + jitter * (2 * uniform(seed, i, j, 1) - 1)) * pitch_um
    inside = (y > y0 - margin_um) & (y < y1 + margin_um) & (x > x0 - margin_um) & (x < x1 + margin_um)
    return i[inside], j[inside], y[inside], x[inside]
