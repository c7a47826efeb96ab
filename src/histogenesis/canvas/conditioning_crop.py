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
    """Windows of the finished level above. `ratio`: px of this level per px of that one; `background`: its RGB colour.

    Pictures are uint8 (3, h, w), in memory, or on the device that `hold` has put the level above on: then nothing is sent.
    """

    above: Level
    ratio: tuple[float, float]
    background: tuple[int, int, int]
    held: Tensor | None = None  # the whole level above
    colour: Tensor | None = None  # of the background, (3, 1, 1), there

    def hold(self, device: str | torch.device) -> None:
        """Read the level above once, and keep all of it on a device (or in memory)."""
        self.held = torch.from_numpy(self.above.image[:]).permute(2, 0, 1).contiguous().to(device)
        self.colour = self._colour().to(device)

    def let_go(self) -> None:
        """From now on windows are read from the file."""
        self.held = self.colour = None

    def context(self, tile: Tile) -> Tensor:
        """As many px of the level above as the tile has, with the same centre (to the nearest px): (3, t, t).

        Where the view leaves the canvas it is background.
        """
        y, x = (
            round((start + tile.size / 2) / ratio - tile.size / 2) for start, ratio in zip((tile.y, tile.x), self.ratio)
        )
        return self.pad(y, x, tile.size, tile.size)

    def lowres(self, tile: Tile) -> Tensor:
        """The tile's own part of the level above, at a whole-numbered ratio: (3, t / ratio, t / ratio)."""
        (y, x), side = (round(n / r) for n, r in zip((tile.y, tile.x), self.ratio)), round(tile.size / self.ratio[0])
        return self.pad(y, x, side, side)

    def interpolate(self, rows: slice, columns: slice) -> Tensor:
        """A part of this level's canvas as the level above shows it, bilinear at any ratio: (3, h, w)."""
        sides = list(zip((rows, columns), self.ratio, self.above.shape))
        ends = [[_place(n, *side[1:]) for n in (side[0].start, side[0].stop - 1)] for side in sides]
        (y, height), (x, width) = ((int(a), min(int(b) + 2, side[2]) - int(a)) for (a, b), side in zip(ends, sides))
        view = self.window(y, x, height, width).float()
        for axis, (part, ratio, limit), first in ((1, sides[0], y), (2, sides[1], x)):
            index = torch.arange(part.start, part.stop, dtype=torch.float64, device=view.device)
            at = ((index + 0.5) / ratio - 0.5).clamp(0, limit - 1) - first
            low = at.long().clamp(max=view.shape[axis] - 1)
            high = (low + 1).clamp(max=view.shape[axis] - 1)
            share = (at - low).float()[:, None] if axis == 1 else (at - low).float()
            view = view.index_select(axis, low) * (1 - share) + view.index_select(axis, high) * share
        return (view + 0.5).floor().to(torch.uint8)

    def upsample(self, rows: slice, columns: slice) -> Tensor:
        """A part of this level's canvas as the level above shows it: (3, h, w).

        At a whole-numbered ratio each pixel is repeated, which is A+ y; at others it is bilinear.
        """
        if any(ratio != int(ratio) for ratio in self.ratio):
            return self.interpolate(rows, columns)
        f_y, f_x = map(int, self.ratio)
        y, x = rows.start // f_y, columns.start // f_x
        view = self.window(y, x, -(-rows.stop // f_y) - y, -(-columns.stop // f_x) - x)
        view = view.repeat_interleave(f_y, 1).repeat_interleave(f_x, 2)[
            :, rows.start - f_y * y :, columns.start - f_x * x :
        ]
        return view[:, : rows.stop - rows.start, : columns.stop - columns.start]

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

    def pad(self, y: int, x: int, height: int, width: int) -> Tensor:
        """A window that may leave the canvas: (3, height, width)."""
        limit_y, limit_x = self.above.shape
        y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + height, limit_y), min(x + width, limit_x)
        if (y0, x0, y1, x1) == (y, x, y + height, x + width):
            return self.window(y, x, height, width)
        out = (self._colour() if self.colour is None else self.colour).repeat(1, height, width)
        if y1 > y0 and x1 > x0:
            out[:, y0 - y : y1 - y, x0 - x : x1 - x] = self.window(y0, x0, y1 - y0, x1 - x0)
        return out

    def window(self, y: int, x: int, height: int, width: int) -> Tensor:
        """(3, height, width), of what is held or else from the file; not to be written to."""
        if self.held is None:
            return torch.from_numpy(self.above.window(y, x, height, width)).permute(2, 0, 1)
        return self.held[:, y : y + height, x : x + width]

    def _colour(self) -> Tensor:
        return torch.tensor(self.background, dtype=torch.uint8)[:, None, None]


def _place(n: int, ratio: float, limit: int) -> float:
    """Where the middle of a px lies in the level above, from the middle of its first px on."""
    return min(max((n + 0.5) / ratio - 0.5, 0), limit - 1)


def encoded(pictures: list[Tensor], normalisation: Normalisation, device: str | torch.device) -> Tensor:
    """uint8 (3, h, w) each -> model units (B, 3, h, w) on a device."""
    return normalisation.encode(torch.stack(pictures).to(device))


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
            wide = encoded([crop.context(tile) for tile in tiles], normalisation, noise.device)
            pictures.append(avg_pool2d(wide, wide.shape[-1] // px))
        else:
            small = lowres
            if small is None:
                small = encoded([crop.lowres(tile) for tile in tiles], normalisation, noise.device)
            scale = tiles[0].size // px
            noise_bchw = noise.windows([(tile.y // scale, tile.x // scale) for tile in tiles], px, px)
            lowres_noise_b = torch.full((len(tiles),), lowres_noise, device=noise_bchw.device)
            pictures.append(add_noise(enlarge(small, px), lowres_noise_b, noise_bchw))
            cond["lowres_noise_b"] = lowres_noise_b
    if pictures:
        cond["cond_image_bchw"] = torch.cat(pictures, dim=1)
    return cond
