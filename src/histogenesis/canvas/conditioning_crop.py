"""What conditions a tile, of the level above: its own view at lower resolution, and a wider view about its centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from histogenesis.canvas.canvas import Level
from histogenesis.canvas.tiling import Tile
from histogenesis.core.field import NoiseField
from histogenesis.models.conditions import add_noise, enlarge

if TYPE_CHECKING:
    from histogenesis.models.model import Normalisation


@dataclass
class ConditioningCrop:
    """Windows of the finished level above. `ratio`: px of this level per px of that one; `background`: its RGB colour."""

    above: Level
    ratio: tuple[float, float]
    background: tuple[int, int, int]

    def context(self, tile: Tile) -> np.ndarray:
        """As many px of the level above as the tile has, with the same centre (to the nearest px): uint8 (t, t, 3).

        Where the view leaves the canvas it is background.
        """
        y, x = (
            round((start + tile.size / 2) / ratio - tile.size / 2) for start, ratio in zip((tile.y, tile.x), self.ratio)
        )
        return self.pad(y, x, tile.size, tile.size)

    def lowres(self, tile: Tile) -> np.ndarray:
        """The tile's own part of the level above, at a whole-numbered ratio: uint8 (t / ratio, t / ratio, 3)."""
        (y, x), side = (round(n / r) for n, r in zip((tile.y, tile.x), self.ratio)), round(tile.size / self.ratio[0])
        return self.pad(y, x, side, side)

    def interpolate(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of this level's canvas as the level above shows it, bilinear at any ratio: uint8 (h, w, 3)."""
        axes, corner, side = [], [], []
        for part, ratio, limit in zip((rows, columns), self.ratio, self.above.shape):
            at = ((np.arange(part.start, part.stop) + 0.5) / ratio - 0.5).clip(0, limit - 1)
            first = int(at[0])
            corner.append(first)
            side.append(min(int(at[-1]) + 2, limit) - first)
            axes.append(at - first)
        view = self.above.window(*corner, *side).astype(np.float32)
        for axis, at in enumerate(axes):
            low = np.minimum(at.astype(int), view.shape[axis] - 1)
            high = np.minimum(low + 1, view.shape[axis] - 1)
            share = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            view = view.take(low, axis) * (1 - share) + view.take(high, axis) * share
        return np.floor(view + 0.5).astype(np.uint8)

    def upsample(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of this level's canvas as the level above shows it: uint8 (h, w, 3).

        At a whole-numbered ratio each pixel is repeated, which is A+ y; at others it is bilinear.
        """
        if any(ratio != int(ratio) for ratio in self.ratio):
            return self.interpolate(rows, columns)
        f_y, f_x = map(int, self.ratio)
        y, x = rows.start // f_y, columns.start // f_x
        view = self.above.window(y, x, -(-rows.stop // f_y) - y, -(-columns.stop // f_x) - x)
        view = view.repeat(f_y, axis=0).repeat(f_x, axis=1)[rows.start - f_y * y :, columns.start - f_x * x :]
        return view[: rows.stop - rows.start, : columns.stop - columns.start]

    def under(self, tile: Tile) -> np.ndarray:
        """All whole or partial px of the level above that lie under a tile: uint8 (h, w, 3), not empty."""
        parts = []
        for start, ratio, limit in zip((tile.y, tile.x), self.ratio, self.above.shape):
            first = min(int(start / ratio), limit - 1)
            parts.append((first, max(1, min(int(np.ceil((start + tile.size) / ratio)), limit) - first)))
        (y, height), (x, width) = parts
        return self.above.window(y, x, height, width)

    def is_background(self, tile: Tile, share: float, above: int) -> bool:
        """Whether more than `share` of what lies under a tile is white: all three colours brighter than `above`."""
        return float((self.under(tile).min(axis=-1) > above).mean()) > share

    def pad(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window that may leave the canvas: uint8 (height, width, 3)."""
        out = np.empty((height, width, 3), np.uint8)
        out[:] = self.background
        limit_y, limit_x = self.above.shape
        y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + height, limit_y), min(x + width, limit_x)
        if y1 > y0 and x1 > x0:
            out[y0 - y : y1 - y, x0 - x : x1 - x] = self.above.window(y0, x0, y1 - y0, x1 - x0)
        return out


def tensor(pictures: list[np.ndarray], normalisation: Normalisation) -> Tensor:
    """uint8 (h, w, 3) each -> model units (B, 3, h, w)."""
    return normalisation.encode(torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy()))


def build_cond(
    conditions: list[str],
    tiles: list[Tile],
    px: int,
    crop: ConditioningCrop | None,
    normalisation: Normalisation,
    noise: NoiseField,
    lowres_noise: float,
    lowres: Tensor | None = None,
) -> dict[str, Tensor]:
    """What a network that sees these conditions (in the order of their channels) is given beside tiles of `px` px.

    lowres: the tiles as the network before has drawn them, in this model's units; default: those of the level above.
    Returns the denoiser's keywords.
    """
    cond: dict[str, Tensor] = {}
    pictures = []
    for name in conditions:
        if name == "context":
            wide = tensor([crop.context(tile) for tile in tiles], normalisation)
            pictures.append(avg_pool2d(wide.to(noise.device), wide.shape[-1] // px))
        else:
            small = tensor([crop.lowres(tile) for tile in tiles], normalisation) if lowres is None else lowres
            scale = tiles[0].size // px
            noise_bchw = noise.windows([(tile.y // scale, tile.x // scale) for tile in tiles], px, px)
            lowres_noise_b = torch.full((len(tiles),), lowres_noise, device=noise_bchw.device)
            pictures.append(add_noise(enlarge(small.to(noise_bchw.device), px), lowres_noise_b, noise_bchw))
            cond["lowres_noise_b"] = lowres_noise_b
    if pictures:
        cond["cond_image_bchw"] = torch.cat(pictures, dim=1)
    return cond
