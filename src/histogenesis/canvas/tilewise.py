"""Drawing a level tile by tile: each is drawn to its end, through all networks of its cascade, beside its finished neighbours.

Every finished tile is a file of its own. So a drawing that was killed draws its unfinished tiles alone, and the tiles of a
wave can be drawn by several jobs that share nothing but a folder. A tile's pixels are a function of (seed, slide, level, its
place) and of its finished neighbours, never of its place in a batch.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from tqdm import tqdm

from histogenesis.canvas.canvas import Level, write_made
from histogenesis.canvas.constraints import project
from histogenesis.canvas.inpaint import sample_held
from histogenesis.canvas.sight import Sight, seen_pictures, tensor
from histogenesis.canvas.tiling import Drawn, Tile, shifted_grid
from histogenesis.canvas.waves import Place, neighbours, waves
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped
from histogenesis.core.noise import NoiseField
from histogenesis.models.conditions import pictures_of
from histogenesis.models.model import Normalisation
from histogenesis.recipe import Level as LevelSection
from histogenesis.recipe import Smaller
from histogenesis.sampling.guidance import scaled
from histogenesis.sampling.solvers import Stage, stages, step_levels
from histogenesis.sampling.threshold import thresholded

THREADS = ThreadPoolExecutor()  # make noise while a GPU works; NumPy lets them run at the same time


@dataclass
class Painter:
    """A model as a level uses it. `denoise(x, sigma, mpp, **seen)` is in its own units; `learned`: its schedule's levels."""

    denoise: Callable[..., Tensor]
    normalisation: Normalisation
    conditions: list[str] = field(default_factory=list)
    learned: list[float] | None = None


@dataclass
class TileDrawing:
    """One level of one synthetic slide. `painters`: one for each of the section's networks; the rest as for Drawing."""

    section: LevelSection
    size_px: tuple[int, int]
    k: int
    seed: int
    slide: str
    painters: list[Painter]
    above: Level | None = None
    plan: np.ndarray | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    device: str = "cpu"

    def __post_init__(self):
        s, (height, width) = self.section, self.size_px
        if s.joining.kind == "inpaint":
            self.waves = waves(height, width, s.tile_px, s.stride_px, s.joining.order)
        else:
            tiles = shifted_grid(height, width, s.tile_px, 0, 0)
            self.waves = [{(tile.y, tile.x): tile for tile in tiles}]
        self.wave_of = {place: n for n, wave in enumerate(self.waves) for place in wave}
        self.drawn = Drawn(self.plan, height, width)
        self.sight = None
        if self.above is not None:
            ratio = tuple(mine / other for mine, other in zip(self.size_px, self.above.shape))
            self.sight = Sight(self.above, ratio, self.background)
        self.whites: dict[Place, bool] = {}
        start = s.start and s.start.sigma
        self.stages = [
            stages(**n.sampler.solver, learned=p.learned, start=start) for n, p in zip(s.networks, self.painters)
        ]

    # ------------------------------------------------------------------ tiles and their files

    def filled(self, tile: Tile) -> np.ndarray | None:
        """A core that no network draws, uint8 (h, w, 3): background, or the level above where that is white. Else None."""
        if not self.drawn.any(tile.core):
            return self.on_background(np.zeros((1, 1, 3), np.uint8), tile.core)
        if self.is_white(tile):
            return self.on_background(self.sight.enlarged(*tile.core), tile.core)
        return None

    def is_white(self, tile: Tile) -> bool:
        """Whether what the level above shows under a tile is mostly white."""
        white = self.section.white
        if white is None:
            return False
        place = tile.y, tile.x
        if place not in self.whites:
            self.whites[place] = float((self.sight.under(tile).min(axis=-1) > white.above).mean()) > white.share
        return self.whites[place]

    def on_background(self, picture: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
        """A picture of a window with the background's colour where nothing is drawn. uint8 (h, w, 3)"""
        return np.where(self.drawn[window][..., None], picture, np.array(self.background, np.uint8))

    def path(self, folder: Path, tile: Tile) -> Path:
        return folder / f"{tile.y:06d}-{tile.x:06d}.npy"

    def core(self, folder: Path, tile: Tile) -> np.ndarray:
        """A finished tile's core: uint8 (h, w, 3). Raises LookupError where it is not finished."""
        filled = self.filled(tile)
        if filled is not None:
            return filled
        path = self.path(folder, tile)
        try:
            found = np.load(path, allow_pickle=False)
            assert found.shape[:2] == tuple(part.stop - part.start for part in tile.core)
        except FileNotFoundError:
            raise LookupError(f"{path}: this tile is not finished") from None
        except (ValueError, EOFError, AssertionError):
            raise BadInput(f"{path}: broken tile; delete it to draw it again") from None
        return found

    def save(self, folder: Path, tile: Tile, core: np.ndarray) -> None:
        """Write a finished core; it appears whole or not at all."""
        path = self.path(folder, tile)
        part = path.with_suffix(f".part{os.getpid()}")
        with open(part, "wb") as file:
            np.save(file, core)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)

    def held(self, folder: Path, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """What a tile must agree with: uint8 (t, t, 3), and where it is known, bool (t, t).

        Known are the cores of earlier waves, tiles that nobody draws, and the background.
        """
        n = self.wave_of[place]
        tile = self.waves[n][place]
        known, mask = self.on_background(np.zeros((1, 1, 3), np.uint8), tile.window), ~self.drawn[tile.window]
        if self.section.joining.kind != "inpaint":
            return known, mask
        for other in (other for other in neighbours(place) if other in self.wave_of):
            theirs = self.waves[self.wave_of[other]][other]
            parts = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(theirs.core, tile.window)]
            if any(part.stop <= part.start for part in parts):
                continue
            if self.wave_of[other] >= n and self.filled(theirs) is None:
                continue
            here = tuple(slice(p.start - start, p.stop - start) for p, start in zip(parts, (tile.y, tile.x)))
            there = tuple(slice(p.start - c.start, p.stop - c.start) for p, c in zip(parts, theirs.core))
            known[here], mask[here] = self.core(folder, theirs)[there], True
        return known, mask

    # ------------------------------------------------------------------ one batch

    @torch.inference_mode()
    def draw_batch(self, folder: Path, places: list[Place]) -> None:
        """Draw up to `batch` tiles of one wave, padded to that number: the batch shape is part of the recipe."""
        padded = places + [places[-1]] * (self.section.batch - len(places))
        tiles = [self.waves[self.wave_of[place]][place] for place in padded]
        known, mask = (np.stack(parts) for parts in zip(*(self.held(folder, place) for place in padded)))
        picture = None  # as the networks so far have drawn the tiles, 0 to 255
        for network, painter, solver in zip(self.section.networks, self.painters, self.stages):
            picture = self.paint(network, painter, solver, tiles, known, mask, picture)
        made = picture.round().clamp(0, 255).to(torch.uint8).cpu().numpy().transpose(0, 2, 3, 1)
        for place, tile, pixels in list(zip(padded, tiles, made))[: len(places)]:
            assert self.wave_of[place] == self.wave_of[places[0]], "tiles of one wave"
            self.save(folder, tile, pixels[tile.core_in_window])

    def paint(
        self,
        network: Smaller,
        painter: Painter,
        solver: list[Stage],
        tiles: list[Tile],
        known: np.ndarray,
        mask: np.ndarray,
        smaller: Tensor | None,
    ) -> Tensor:
        """What one network makes of the tiles: (B, 3, p, p), 0 to 255; `smaller` is what the one before has made of them."""
        px, device, normalisation = network.tile_px, self.device, painter.normalisation
        scale = self.section.tile_px // px
        fields = {
            purpose: NoiseField(
                self.seed, self.slide, network.model, self.k, *([purpose] if purpose != "fresh" else [])
            )
            for purpose in ("fresh", "held", "back", "lowres")
        }

        held = normalisation.encode(avg_pool2d(torch.from_numpy(known.transpose(0, 3, 1, 2)).float().to(device), scale))
        whole = avg_pool2d(torch.from_numpy(mask[:, None]).float().to(device), scale) == 1
        where = whole[:, 0].cpu().numpy()

        def noise(purpose: str, step: int, draw: int) -> Tensor:
            def window(tile: Tile, where: np.ndarray) -> np.ndarray:
                corner, only = (tile.y // scale, tile.x // scale), where if purpose == "held" else None
                return fields[purpose].window(*corner, px, px, step, draw, only)

            return torch.from_numpy(np.stack(list(THREADS.map(window, tiles, where)))).to(device)

        seen = seen_pictures(
            pictures_of(painter.conditions),
            tiles,
            px,
            self.sight,
            normalisation,
            fields["lowres"],
            self.section.lowres_noise,
            None if smaller is None else normalisation.encode(smaller).cpu(),
        )
        seen = {name: value.to(device) for name, value in seen.items()}
        mpp = torch.full((len(tiles),), self.section.mpp * scale, device=device)
        constrain = self.constraint(tiles, normalisation, solver)

        def denoise(x: Tensor, stage: Stage) -> Tensor:
            sigma = torch.full((len(x),), stage.sigma, device=device)
            denoised = scaled(painter.denoise(x, sigma, mpp, **seen), x, network.sampler, stage.step)
            return constrain(thresholded(denoised, network.sampler.threshold, normalisation), stage)

        start = None
        if self.section.start:
            start = tensor([self.sight.shown(*tile.window) for tile in tiles], normalisation).to(device)
        resample = getattr(self.section.joining, "resample", 1)
        return normalisation.decode(sample_held(denoise, solver, held, whole, noise, resample, start)).clamp(0, 255)

    def constraint(
        self, tiles: list[Tile], normalisation: Normalisation, solver: list[Stage]
    ) -> Callable[[Tensor, Stage], Tensor]:
        """The null-space projection while it holds; nothing for other constraints."""
        if self.section.constraint.kind != "null-space":
            return lambda denoised, stage: denoised
        sigmas, release = step_levels(solver), self.section.constraint.relaxation.sigma
        y = tensor([self.sight.same(tile) for tile in tiles], normalisation).to(self.device)
        return lambda denoised, stage: project(denoised, y, 2) if sigmas[stage.step] > release else denoised

    # ------------------------------------------------------------------ the whole level

    def unfinished(self, folder: Path, wave: int, job: int = 0, jobs: int = 1) -> list[Place]:
        """The places of a wave that a network has still to draw, of those that are dealt out to one of several jobs."""
        mine = [place for n, place in enumerate(self.waves[wave]) if n % jobs == job]
        drawn = [place for place in mine if self.filled(self.waves[wave][place]) is None]
        return [place for place in drawn if not self.path(folder, self.waves[wave][place]).exists()]

    def run(self, folder: Path, stop=False, wave: int | None = None, job: int = 0, jobs: int = 1) -> Path:
        """Draw what `folder` has not; of one wave only, and of that one job's share, where that is asked for.

        Returns the folder, which `finish` takes. Raises Stopped once `stop` is true: tiles that were begun are finished then.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for n in range(len(self.waves)) if wave is None else [wave]:
            places = self.unfinished(folder, n, job, jobs)
            bar = tqdm(
                total=len(places),
                unit="tile",
                mininterval=2,
                desc=f"{self.slide} level {self.k} wave {n + 1} of {len(self.waves)}",
                disable=not places,
            )
            for start in range(0, len(places), self.section.batch):
                batch = places[start : start + self.section.batch]
                self.draw_batch(folder, batch)
                bar.update(len(batch))
                if stop:
                    raise Stopped(f"{self.slide} level {self.k}: stopped on request, finished tiles are in {folder}")
            bar.close()
        return folder

    def bands(self, folder: Path) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows, top to bottom: bands that the cores' upper and lower borders cut."""
        tiles = [tile for wave in self.waves for tile in wave.values()]
        cuts = sorted({edge for tile in tiles for edge in (tile.core[0].start, tile.core[0].stop)})
        for top, bottom in pairwise(cuts):
            band = np.empty((bottom - top, self.size_px[1], 3), np.uint8)
            for tile in (tile for tile in tiles if tile.core[0].start <= top and tile.core[0].stop >= bottom):
                rows = slice(top - tile.core[0].start, bottom - tile.core[0].start)
                band[:, tile.core[1]] = self.core(folder, tile)[rows]
            yield top, band

    def finish(self, folder: Path, out: Path, **facts) -> None:
        """Write level{k}.h5."""
        write_made(out, self, self.bands(folder), **facts)
