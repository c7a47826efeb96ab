"""Tiles that are drawn to their end, each beside its finished neighbours.

Every finished tile is a file of its own. So a drawing that was killed draws its unfinished tiles alone, and several jobs that
share nothing but a folder draw from one queue (queue.py). A tile's pixels are a function of (seed, slide, level, its
place) and of its finished neighbours, never of its place in a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from histogenesis.canvas.conditioning_crop import encoded
from histogenesis.canvas.plan import Round
from histogenesis.canvas.queue import Queue
from histogenesis.canvas.task import Task
from histogenesis.canvas.tiling import Tile, TileIndex
from histogenesis.canvas.wavefronts import neighbours
from histogenesis.core.arrays import Broken, load_proven, save_proven
from histogenesis.core.errors import BadInput
from histogenesis.sampling.solvers import Evaluation, Take, solve

Started = tuple[Tensor, Callable[[str, int, int], Tensor], Callable[[Tensor, Take], Tensor]]


class TileFiles:
    """The easel of tiles that are drawn to their end."""

    caches_above, device, wait_s = False, "cpu", 0.2

    def __init__(self, d: Task, folder: Path):
        self.d, self.folder, self.wavefronts = d, Path(folder), d.schedule.wavefronts
        self.wavefront_of = {index: n for n, wavefront in enumerate(self.wavefronts) for index in wavefront}
        self.background_tiles: dict[TileIndex, bool] = {}
        self.proven: set[Path] = set()
        self.folder.mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------ tiles and their files

    def filled(self, tile: Tile) -> np.ndarray | None:
        """A core that no network draws, uint8 (h, w, 3): background, or the level above where that is white. Else None."""
        if not self.d.foreground.any(tile.core):
            return self.on_background(np.zeros((1, 1, 3), np.uint8), tile.core)
        if self.is_background(tile):
            picture = self.d.crop.interpolate(*tile.core).permute(1, 2, 0).numpy()
            return self.on_background(picture, tile.core)
        return None

    def is_background(self, tile: Tile) -> bool:
        """Whether what the level above shows under a tile is mostly white."""
        skip, index = self.d.section.skip_background, (tile.y, tile.x)
        if skip is None:
            return False
        if index not in self.background_tiles:
            self.background_tiles[index] = self.d.crop.is_background(tile, skip.share, skip.above)
        return self.background_tiles[index]

    def on_background(self, picture: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        """A picture of a window with the background's colour where nothing is drawn. uint8 (h, w, 3)"""
        return np.where(self.d.foreground[window][..., None], picture, np.array(self.d.background, np.uint8))

    def path(self, tile: Tile) -> Path:
        return self.folder / f"{tile.y:06d}-{tile.x:06d}.npy"

    def core(self, tile: Tile) -> np.ndarray:
        """A finished tile's core: uint8 (h, w, 3). Raises LookupError where it is not finished."""
        filled = self.filled(tile)
        if filled is not None:
            return filled
        path = self.path(tile)
        try:
            core = load_proven(path)
        except FileNotFoundError:
            raise LookupError(f"{path}: this tile is not finished") from None
        except Broken:
            path.unlink(missing_ok=True)
            raise BadInput(f"{path}: damaged tile, which is removed; the same command draws it again") from None
        return core

    def is_whole(self, tile: Tile) -> bool:
        """Whether a tile's core lies there, whole. One that is damaged is removed, and that is said."""
        path = self.path(tile)
        if path not in self.proven:
            try:
                load_proven(path)
            except FileNotFoundError:
                return False
            except Broken:
                print(f"{path}: damaged tile, drawn again", flush=True)
                path.unlink(missing_ok=True)
                return False
            self.proven.add(path)
        return path.exists()

    def save(self, tile: Tile, core: np.ndarray) -> None:
        """Write a finished core; it appears whole or not at all."""
        save_proven(self.path(tile), core)

    def known_region(self, index: TileIndex) -> tuple[np.ndarray, np.ndarray]:
        """What a tile must agree with: uint8 (t, t, 3), and where it is known, bool (t, t).

        Known are the cores of earlier wavefronts, tiles that nobody draws, and the background.
        """
        n = self.wavefront_of[index]
        tile = self.wavefronts[n][index]
        known, mask = self.on_background(np.zeros((1, 1, 3), np.uint8), tile.window), ~self.d.foreground[tile.window]
        if not self.d.section.joining.inpaints:
            return known, mask
        for other in (other for other in neighbours(index) if other in self.wavefront_of):
            theirs = self.wavefronts[self.wavefront_of[other]][other]
            parts = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(theirs.core, tile.window)]
            if any(part.stop <= part.start for part in parts):
                continue
            if self.wavefront_of[other] >= n and self.filled(theirs) is None:
                continue
            here = tuple(slice(p.start - start, p.stop - start) for p, start in zip(parts, (tile.y, tile.x)))
            there = tuple(slice(p.start - c.start, p.stop - c.start) for p, c in zip(parts, theirs.core))
            known[here], mask[here] = self.core(theirs)[there], True
        return known, mask

    # ------------------------------------------------------------------ a round

    def finished(self, tile: Tile) -> bool:
        """Whether a tile is drawn, or no network draws it."""
        return self.is_whole(tile) or not self.d.foreground.any(tile.core) or self.is_background(tile)

    def batches(self) -> Iterator[tuple[Round, list[TileIndex]]]:
        """The tiles that are left, batch by batch. An empty batch: all that are ready are being drawn by other processes."""
        queue = Queue(self.wavefronts, self.finished, self.folder / "queue")
        self.left = len(queue)
        this_round = Round(0, queue.tiles, 0, max(self.d.schedule.evaluations))
        while queue:
            indices = queue.claim(self.d.section.batch)
            yield this_round, indices
            queue.done(indices)
            if not indices and queue:
                time.sleep(self.wait_s)

    def draw_tiles(self, this_round: Round, indices: list[TileIndex], count: int) -> None:
        """A batch, of which the first `count` tiles are kept: each network takes it to its end, then the next enlarges it."""
        d, tiles, lowres = self.d, [this_round.tiles[index] for index in indices], None
        for n in range(len(d.bundles)):
            answer = d.answer(n, tiles, lowres)

            def estimate(x: Tensor, evaluation: Evaluation, n=n, answer=answer) -> Tensor:
                return d.constrain(n, tiles, answer(x, evaluation), evaluation)

            x, noise, after = self.begin(n, this_round, indices, tiles)
            x, _ = solve(x, d.takes[n][this_round.first : this_round.last], estimate, noise, None, after)
            lowres = self.end(n, tiles, x, count)

    def begin(self, n: int, this_round: Round, indices: list[TileIndex], tiles: list[Tile]) -> Started:
        """Noise on what the n-th network starts from, with what is known in its place; and what holds it there afterwards."""
        d, network = self.d, self.d.section.networks[n]
        device, px, normalisation = d.device, network.tile_px, d.bundles[n].normalisation
        if n == 0:
            self.known, self.mask = (np.stack(parts) for parts in zip(*(self.known_region(index) for index in indices)))
        scale = d.section.tile_px // px
        known = torch.from_numpy(self.known.transpose(0, 3, 1, 2)).float().to(device)
        known = normalisation.encode(avg_pool2d(known, scale))
        known_mask = avg_pool2d(torch.from_numpy(self.mask[:, None]).float().to(device), scale) == 1
        fields = {purpose: d.noise(network, purpose) for purpose in ("fresh", "held", "back")}
        corners, any_known = [(tile.y // scale, tile.x // scale) for tile in tiles], bool(self.mask.any())

        def noise(purpose: str, step: int, resample_index: int) -> Tensor:
            where = known_mask[:, 0] if purpose == "held" else None
            return fields[purpose].windows(corners, px, px, step, resample_index, where)

        x = noise("fresh", 0, 0) * d.takes[n][0].evaluation.sigma
        if d.section.start:
            x = x + encoded([d.beginning(*tile.window) for tile in tiles], normalisation, device)
        impose = impose_known_region(known, known_mask, noise) if any_known else None
        return impose(x, None, d.takes[n][0].evaluation.sigma) if impose else x, noise, impose

    def end(self, n: int, tiles: list[Tile], x: Tensor, count: int) -> Tensor:
        """The finished pictures, 0 to 255; those of the last network are saved, the first `count` of them."""
        picture = self.d.bundles[n].normalisation.decode(x).clamp(0, 255)
        if n == len(self.d.bundles) - 1:
            generated = picture.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
            for tile, pixels in list(zip(tiles, generated))[:count]:
                self.save(tile, pixels[tile.core_in_window])
        return picture

    def stopping(self, asked: bool, indices: list[TileIndex]) -> bool:
        return asked

    def after_batch(self, stopping: bool, save_every_s: float) -> None:
        """Finished tiles are saved already."""

    def leave_device(self) -> bool:
        return False

    # ------------------------------------------------------------------ the result

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows, top to bottom: bands that the cores' upper and lower borders cut."""
        tiles = [tile for wavefront in self.wavefronts for tile in wavefront.values()]
        cuts = sorted({edge for tile in tiles for edge in (tile.core[0].start, tile.core[0].stop)})
        for top, bottom in pairwise(cuts):
            band = np.empty((bottom - top, self.d.size_px[1], 3), np.uint8)
            for tile in (tile for tile in tiles if tile.core[0].start <= top and tile.core[0].stop >= bottom):
                rows = slice(top - tile.core[0].start, bottom - tile.core[0].start)
                band[:, tile.core[1]] = self.core(tile)[rows]
            yield top, band


def impose_known_region(known: Tensor, mask: Tensor, noise: Callable[[str, int, int], Tensor]) -> Callable:
    """RePaint (Lugmayr et al. 2022, algorithm 1): puts known pixels in their place, noised to the level that x has reached.

    known (B, C, h, w), mask (B, 1, h, w) bool.
    """

    def impose(x: Tensor, take: Take | None, sigma: float | None = None) -> Tensor:
        step, resample_index, sigma = (
            (take.evaluation.step + 1, take.resample_index, take.sigma) if take else (0, 0, sigma)
        )
        return torch.where(mask, known + sigma * noise("held", step, resample_index) if sigma else known, x)

    return impose
