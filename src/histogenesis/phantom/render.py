"""Paint a part of a phantom: optical densities of haematoxylin and eosin, pen and dust, then colour."""

from __future__ import annotations

import numpy as np

from histogenesis.phantom.anatomy import Anatomy, Grid, Ovals, _turned, oval_depth_um, smooth
from histogenesis.phantom.cells import (
    REACH_UM,
    Cells,
    drops,
    epithelial,
    join,
    red_cells,
    stamp,
    stromal_candidates,
)
from histogenesis.phantom.noise import lattice, line_noise, uniform
from histogenesis.recipe import Phantom

# Optical density of red, green and blue for one unit of stain (unit vectors, near those of Ruifrok and Johnston 2001 and
# Macenko et al. 2009, moved towards the colours of modern scanners).
HAEMATOXYLIN = np.array([0.62, 0.71, 0.335], np.float32)
EOSIN = np.array([0.13, 0.84, 0.525], np.float32)
BLOOD = np.array([0.10, 0.80, 0.60], np.float32)
PENS = np.array([[1.05, 0.62, 0.14], [0.95, 0.32, 0.62], [0.95, 0.92, 0.86]], np.float32)  # blue, green, black
FIBRE_1, FIBRE_2, TEXTURE, THICKNESS, TINT, GRAIN, DUST, HAIR, PEN, STAIN = range(40, 50)
FINEST_UM = 1.0  # coarser phantoms are painted at this resolution or finer, and averaged


class Painter:
    """Paints any rectangle of one phantom; a pixel does not depend on the rectangle that it is painted in."""

    def __init__(self, options: Phantom):
        self.options, self.anatomy, self.seed = options, Anatomy(options), options.seed
        self.fine = max(1, int(np.ceil(options.mpp / FINEST_UM - 1e-9)))  # painted pixels per pixel, each way
        self.mpp = options.mpp / self.fine
        self.strength = 0.9 + 0.25 * uniform((self.seed, STAIN), np.arange(2)).astype(np.float32)  # slides stain unlike
        self.tilt = 2 * np.pi * float(uniform((self.seed, STAIN), 7)[0])

    def rgb(self, y0: int, x0: int, height: int, width: int) -> np.ndarray:
        """Pixels [y0, y0 + height) x [x0, x0 + width) of the phantom: (height, width, 3) uint8."""
        f = self.fine
        light = self._light(y0 * f, x0 * f, height * f, width * f)
        if f > 1:
            light = light.reshape(height, f, width, f, 3).mean(axis=(1, 3), dtype=np.float32)
        rows, columns = np.arange(y0, y0 + height)[:, None], np.arange(x0, x0 + width)
        light += (2.4 * uniform((self.seed, GRAIN), rows, columns) - 1.2).astype(np.float32)[..., None]
        return np.clip(np.floor(light + 0.5), 0, 255).astype(np.uint8)

    def _light(self, y0: int, x0: int, height: int, width: int) -> np.ndarray:
        """What the scanner sees of painted pixels: (height, width, 3) float32, 0 to 255."""
        margin = int(np.ceil(REACH_UM / self.mpp)) + 1
        grid = self._grid(y0 - margin, x0 - margin, height + 2 * margin, width + 2 * margin)
        depth = self.anatomy.outline_um(grid)
        inner = (slice(margin, -margin),) * 2
        density = np.zeros((height, width, 3), np.float32)
        if depth.max() > -5:
            eosin, haematoxylin, blood = (layer[inner] for layer in self._stains(grid, depth))
            for layer, colour in ((eosin, EOSIN), (haematoxylin, HAEMATOXYLIN), (blood, BLOOD)):
                density += layer[..., None] * colour
        grid = self._grid(y0, x0, height, width)
        for foreign in ([self._pen] if self.options.pen_mark else []) + ([self._dust] if self.options.dust else []):
            foreign(grid, density)
        glass = np.empty_like(density)
        for channel, level in enumerate((241.0, 240.0, 242.5)):
            glass[..., channel] = (
                level
                + 1.6 * grid.noise((self.seed, TINT), 2600)
                + 0.9 * grid.noise((self.seed, TINT + 100 * (channel + 1)), 1900)
            )
        return glass * np.exp2(density * np.float32(-np.log2(10)))

    def _grid(self, y0: int, x0: int, height: int, width: int) -> Grid:
        return Grid((np.arange(y0, y0 + height) + 0.5) * self.mpp, (np.arange(x0, x0 + width) + 0.5) * self.mpp)

    def _noise(self, grid: Grid, layer: int, scale_um: float):
        """Noise that is too fine for the pixels averages out, so it is left out."""
        return grid.noise((self.seed, layer), scale_um) if scale_um >= 2 * self.mpp else np.float32(0)

    # ------------------------------------------------------------------------------------------------ tissue

    def _stains(self, grid: Grid, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Optical density of eosin, haematoxylin and blood on the grid."""
        anatomy = self.anatomy
        mucosa = anatomy.mucosa(grid, depth)
        fibre, along = self._fibres(grid)
        texture = self._noise(grid, TEXTURE, 3.2) + 0.7 * self._noise(grid, TEXTURE, 1.5)
        gland, second, thickness = self._glands(grid)
        fat, fat_second = self._ovals(grid, anatomy.fat_cells(grid.box), warped=True)
        vessel, _ = self._ovals(grid, anatomy.vessels(grid.box), warped=True)
        follicle, _ = self._ovals(grid, anatomy.follicles(grid.box), warped=True)
        lymphoid = smooth(follicle / 40)

        # Stroma: bundles of collagen with pale clefts in the core, looser in the mucosa.
        cleft = smooth((fibre + 1.25) / 0.7)
        eosin = (
            (0.36 - 0.12 * mucosa) * (1 + 0.22 * fibre + 0.06 * texture) * (cleft + (1 - cleft) * (0.22 + 0.4 * mucosa))
        )
        haematoxylin = 0.035 + 0.03 * mucosa + 0.01 * texture
        eosin, haematoxylin = eosin * (1 - 0.45 * lymphoid), haematoxylin + 0.13 * lymphoid

        # Fat: empty cells, with membranes where two meet.
        within = smooth(fat / 2) * (1 - lymphoid)
        empty = smooth((np.minimum(fat, (fat - fat_second) * 0.5) - 0.9) / 0.9 + 0.5) * within
        eosin, haematoxylin = _lay(eosin, within, 0.24 + 0.04 * texture), _lay(haematoxylin, within, np.float32(0.03))
        eosin, haematoxylin = _lay(eosin, empty, np.float32(0.012)), _lay(haematoxylin, empty, np.float32(0.0))

        # Vessels: a wall of muscle, a lumen with some blood.
        wall = smooth(vessel / 2 + 0.5)
        empty = empty * (1 - wall)
        lumen = smooth((vessel - 6 - 0.06 * np.maximum(vessel, 0)) / 1.6 + 0.5)
        eosin = _lay(eosin, wall, 0.42 + 0.05 * texture)
        haematoxylin = _lay(haematoxylin, wall, np.float32(0.07))
        eosin, haematoxylin = _lay(eosin, lumen, np.float32(0.03)), _lay(haematoxylin, lumen, np.float32(0.005))

        # Glands and the surface are lined by epithelium; septa stay where two glands meet.
        inside = np.minimum(gland, (gland - second) * 0.5 - 1.5)
        epithelium = smooth(inside / 1.4 + 0.5)
        surface = smooth((15 + 2 * texture - depth) / 3) * smooth((mucosa - 0.4) / 0.2) * (gland < 0)
        lining = np.maximum(epithelium, surface)
        apical = smooth((np.where(surface > epithelium, 15 - depth, gland) - 9) / 8)
        eosin = _lay(eosin, lining, 0.23 + 0.05 * apical + 0.035 * texture)
        haematoxylin = _lay(haematoxylin, lining, 0.17 - 0.07 * apical + 0.02 * texture)
        membrane = smooth(1 - np.abs(inside + 1.6) / 1.5)
        eosin = eosin + 0.10 * membrane
        hollow = smooth((gland - thickness - 1.2 * texture) / 2.0 + 0.5) * epithelium
        mucus = 0.03 + 0.03 * np.clip(self._noise(grid, TEXTURE, 9), 0, 2)
        eosin, haematoxylin = _lay(eosin, hollow, np.float32(0.02)), _lay(haematoxylin, hollow, mucus)

        shape, origin = depth.shape, (grid.y[0, 0], grid.x[0, 0])
        glands = anatomy.glands(grid.box)
        drop, _ = stamp(shape, origin, self.mpp, drops(anatomy, glands))
        drop *= epithelium * (1 - hollow)
        eosin, haematoxylin = _lay(eosin, drop, np.float32(0.03)), _lay(haematoxylin, drop, np.float32(0.085))

        stromal = self._stromal(grid, depth, mucosa, lymphoid, follicle, wall, lumen, empty, gland, surface, along)
        cover, stain = stamp(shape, origin, self.mpp, join([stromal, epithelial(anatomy, glands)]))
        cover, stain = cover * (1 - hollow), stain * (1 - hollow)
        chromatin = 1 + 0.16 * self._noise(grid, TEXTURE, 1.1)
        haematoxylin = haematoxylin * (1 - cover) + stain * chromatin
        eosin = eosin * (1 - 0.6 * cover)

        red, _ = stamp(shape, origin, self.mpp, self._blood(grid, lumen))
        blood = 0.42 * red * lumen
        section = smooth(depth / 3 + 0.5) * (1 + 0.07 * grid.noise((self.seed, THICKNESS), 500))
        return eosin * section * self.strength[0], haematoxylin * section * self.strength[1], blood * section

    def _fibres(self, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Wavy bundles along the level lines of a warped plane: their density (unit variance), and their direction."""
        warp = 150 * grid.noise((self.seed, FIBRE_1), 420) + 26 * grid.noise((self.seed, FIBRE_1), 95)
        across = grid.x * np.float32(np.cos(self.tilt)) + grid.y * np.float32(np.sin(self.tilt)) + warp
        wave = 0.5 * self._noise(grid, FIBRE_2, 38)
        density = line_noise((self.seed, FIBRE_1), across / 17 + wave)
        if self.mpp <= 2.5:
            density = 0.75 * density + 0.55 * line_noise((self.seed, FIBRE_2), across / 6.1 + 1.7 * wave)
        if self.mpp <= 0.8:
            density = density + 0.38 * line_noise((self.seed, FIBRE_2), across / 2.1 + 5 * wave)
        density = density + 0.4 * self._noise(grid, FIBRE_2, 27)
        slope_y, slope_x = np.gradient(across)
        return density, np.arctan2(slope_y, slope_x) + np.float32(np.pi / 2)

    def _glands(self, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth into the nearest gland, into the next nearest, and the nearest one's thickness."""
        glands = self.anatomy.glands(grid.box)
        thickness = np.full(grid.y.shape[:1] + grid.x.shape[1:], 20, np.float32)
        first, second = self._ovals(grid, glands, warped=True, follow=(thickness, glands.thickness))
        return first, second, thickness

    def _ovals(self, grid: Grid, ovals: Ovals, warped: bool = False, follow=None) -> tuple[np.ndarray, np.ndarray]:
        """Depth into the deepest oval at each pixel, and into the second: (h, w) float32, -20 far outside.

        `follow`: an array to fill with the deepest oval's own value, and those values.
        """
        shape = (grid.y.shape[0], grid.x.shape[1])
        first, second = (np.full(shape, -20, np.float32) for _ in range(2))
        if not len(ovals):
            return first, second
        warp_y, warp_x = self.anatomy.warp_um(grid) if warped else (None, None)
        for n, (y, x, a, b, angle) in enumerate(zip(ovals.y, ovals.x, ovals.a, ovals.b, ovals.angle)):
            reach = max(a, b) + 52  # the warp and the 20 um around
            rows = slice(*np.searchsorted(grid.y[:, 0], (y - reach, y + reach)))
            columns = slice(*np.searchsorted(grid.x[0], (x - reach, x + reach)))
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            dy, dx = (grid.y[rows] - y).astype(np.float32), (grid.x[:, columns] - x).astype(np.float32)
            if warped:
                dy, dx = dy + warp_y[rows, columns], dx + warp_x[rows, columns]
            c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            depth = np.maximum(oval_depth_um(dx * c + dy * s, dy * c - dx * s, a, b), -20).astype(np.float32)
            best, next_best = first[rows, columns], second[rows, columns]
            if follow is not None:
                np.copyto(follow[0][rows, columns], np.float32(follow[1][n]), where=depth > best)
            np.maximum(next_best, np.minimum(best, depth), out=next_best)
            np.maximum(best, depth, out=best)
        return first, second

    def _stromal(self, grid, depth, mucosa, lymphoid, follicle, wall, lumen, empty, gland, surface, along) -> Cells:
        """Nuclei outside of glands: spindle-shaped along the fibres, lymphocytes in the mucosa and the follicles."""
        cells, draw = stromal_candidates(self.anatomy, grid.box)
        at = self._nearest(grid, cells)
        germinal = smooth((follicle[at] - 70) / 30)
        dense = 0.055 + 0.20 * mucosa[at] + (0.85 - 0.3 * germinal) * lymphoid[at] + 0.12 * wall[at] + 0.6 * surface[at]
        room = (gland[at] < -2.6) & (lumen[at] < 0.05) & (empty[at] < 0.3) & (depth[at] > 3.5)
        keep = room & (draw[:, 0] < dense)
        cells, draw, at = cells.select(keep), draw[keep], tuple(n[keep] for n in at)
        # Which are lymphocytes and which are fibroblasts or the muscle of a vessel's wall
        spindle = (draw[:, 1] > 0.15 + 0.5 * mucosa[at] + 0.9 * lymphoid[at] + surface[at]) | (wall[at] > 0.5)
        cells.a = np.where(spindle, 4.2 + 2.4 * draw[:, 2], cells.a)
        cells.b = np.where(spindle, 1.2 + 0.8 * draw[:, 1], cells.b + 0.5 * germinal[keep])
        cells.angle = np.where(spindle, along[at] + 0.5 * (draw[:, 2] - 0.5), cells.angle)
        cells.stain = np.where(spindle, 0.75 + 0.2 * draw[:, 2], cells.stain - 0.35 * germinal[keep])
        return cells

    def _blood(self, grid: Grid, lumen: np.ndarray) -> Cells:
        cells = red_cells(self.anatomy, grid.box)
        at = self._nearest(grid, cells)
        full = uniform((self.seed, STAIN), np.floor(cells.y / 260).astype(int), np.floor(cells.x / 260).astype(int))
        return cells.select((lumen[at] > 0.8) & (full > 0.4))

    def _nearest(self, grid: Grid, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the pixel that each cell lies in."""
        row = np.rint((cells.y - grid.y[0, 0]) / self.mpp).astype(int)
        column = np.rint((cells.x - grid.x[0, 0]) / self.mpp).astype(int)
        return np.clip(row, 0, grid.y.shape[0] - 1), np.clip(column, 0, grid.x.shape[1] - 1)

    # ------------------------------------------------------------------------------------------------ what is no tissue

    def _pen(self, grid: Grid, density: np.ndarray) -> None:
        """A wavy stroke of a felt pen in the lower right corner; it lies on the cover glass, so over everything."""
        height, width = self.anatomy.height_um, self.anatomy.width_um
        short = min(height, width)
        half, length = np.clip(0.011 * short, 4, 90), 0.24 * short
        u, v = _turned(grid, 0.90 * height, 0.88 * width, -0.45)
        v = v - 0.13 * length * np.sin(u * (2 * np.pi / (0.6 * length)))
        if not (np.abs(u) < length / 2 + 50).any() or not (np.abs(v) < 4 * half).any():
            return
        edge = 0.05 * half * grid.noise((self.seed, PEN), 0.7 * half)
        cover = smooth((half + edge - np.abs(v)) / 9 + 0.5) * smooth((length / 2 - np.abs(u) + 3 * edge) / 25 + 0.5)
        ink = (
            0.78
            + 0.16 * line_noise((self.seed, PEN), v / (0.16 * half))
            + 0.2 * smooth((np.abs(v) - 0.75 * half) / (0.2 * half))
        )
        colour = PENS[int(3 * uniform((self.seed, PEN), 3)[0])]
        density += (cover * ink).astype(np.float32)[..., None] * colour

    def _dust(self, grid: Grid, density: np.ndarray) -> None:
        """Specks and a hair here and there, some out of focus."""
        i, j, y, x = lattice((self.seed, DUST), 430, 0.45, grid.box, 60)
        r = 2.5 + 11 * uniform((self.seed, DUST), i, j, 2) ** 3
        blur = 1.2 + 5 * uniform((self.seed, DUST), i, j, 3) ** 2
        for n in np.flatnonzero(uniform((self.seed, DUST), i, j, 4) < 0.3):
            rows, columns, part = _window(grid, y[n], x[n], 3 * r[n] + 3 * blur[n])
            if part is not None:
                rough = 1 + 0.3 * part.noise((self.seed, DUST), 0.8 * r[n])
                distance = np.hypot(part.y - y[n], part.x - x[n]) / rough.clip(0.3)
                density[rows, columns] += (0.75 * smooth((r[n] - distance) / blur[n] + 0.5)).astype(np.float32)[
                    ..., None
                ]
        i, j, y, x = lattice((self.seed, HAIR), 2300, 0.45, grid.box, 700)
        bend = 180 + 300 * uniform((self.seed, HAIR), i, j, 2)
        turn, span = (2 * np.pi * uniform((self.seed, HAIR), i, j, 3), 0.5 + 0.7 * uniform((self.seed, HAIR), i, j, 4))
        for n in np.flatnonzero(uniform((self.seed, HAIR), i, j, 5) < 0.35):
            rows, columns, part = _window(grid, y[n], x[n], bend[n] + 10)
            if part is not None:
                dy, dx = part.y - y[n], part.x - x[n]
                off = np.abs((np.arctan2(dy, dx) - turn[n] + np.pi) % (2 * np.pi) - np.pi)
                ring = np.abs(np.hypot(dy, dx) - bend[n] * (1 + 0.25 * off * off))
                line = smooth((3.2 - ring) / 2.4 + 0.5) * (off < span[n])
                density[rows, columns] += (line[..., None] * np.array([0.42, 0.40, 0.33])).astype(np.float32)


def _window(grid: Grid, y: float, x: float, reach: float):
    """Rows, columns and positions of the part of a grid within `reach` of a point; None where there is none."""
    rows = slice(*np.searchsorted(grid.y[:, 0], (y - reach, y + reach)))
    columns = slice(*np.searchsorted(grid.x[0], (x - reach, x + reach)))
    empty = rows.start >= rows.stop or columns.start >= columns.stop
    return rows, columns, None if empty else Grid(grid.y[rows, 0], grid.x[0, columns])


def _lay(under: np.ndarray, cover: np.ndarray, over) -> np.ndarray:
    """`over` laid on `under` where `cover` is 1."""
    return under + cover * (over - under)
