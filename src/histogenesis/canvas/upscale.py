"""Upscaling one level: from the level above, tile by tile with a margin, under the tissue plan. Bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from histogenesis.canvas.canvas import Level, write_generated
from histogenesis.canvas.sections import UpscaledLevel
from histogenesis.canvas.tiling import ForegroundMask
from histogenesis.canvas.upscalers import FACTOR, Upscaler


@dataclass
class Upscaling:
    """One level of one synthetic slide. `plan` is the tissue plan at level 0's scale (None: everything), `background` RGB."""

    section: UpscaledLevel
    size_px: tuple[int, int]
    k: int
    seed: int
    slide: str
    upscaler: Upscaler
    above: Level
    plan: np.ndarray | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    device: str = "cpu"

    def __post_init__(self):
        assert self.size_px == tuple(FACTOR * n for n in self.above.shape), "the recipe's model checks this"
        self.foreground = ForegroundMask(self.plan, *self.size_px)

    @torch.inference_mode()
    def tile(self, rows: slice, columns: slice) -> np.ndarray:
        """uint8 (h, w, 3) of a part of this level, made from that part of the level above and `reach_px` around it."""
        margin, (height, width) = self.upscaler.reach_px, self.above.shape
        y0, x0 = max(0, rows.start // FACTOR - margin), max(0, columns.start // FACTOR - margin)
        y1, x1 = min(height, rows.stop // FACTOR + margin), min(width, columns.stop // FACTOR + margin)
        view = self.above.window(y0, x0, y1 - y0, x1 - x0).transpose(2, 0, 1)[None]
        generated = self.upscaler(torch.from_numpy(np.ascontiguousarray(view)).to(self.device).float() / 255)[0]
        picture = (generated * 255).round().to(torch.uint8).cpu().numpy().transpose(1, 2, 0)
        top, left = rows.start - FACTOR * y0, columns.start - FACTOR * x0
        return picture[top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        """The level as uint8 rows, one row of tiles at a time: what the plan says is upscaled, the rest is background."""
        (height, width), side = self.size_px, self.section.tile_px
        total = -(-height // side) * -(-width // side)
        with tqdm(total=total, unit="tile", mininterval=2, desc=f"{self.slide} level {self.k}") as bar:
            for y in range(0, height, side):
                rows = slice(y, min(y + side, height))
                band = np.empty((rows.stop - y, width, 3), np.uint8)
                band[:] = self.background
                for x in range(0, width, side):
                    columns = slice(x, min(x + side, width))
                    foreground = self.foreground[rows, columns]
                    if foreground.any():
                        band[:, columns] = np.where(foreground[..., None], self.tile(rows, columns), band[:, columns])
                    bar.update()
                yield y, band

    def run(self, out: Path, **metadata) -> None:
        """Write level{k}.h5."""
        write_generated(out, self, self.bands(), method=self.section.method.kind, **metadata)
