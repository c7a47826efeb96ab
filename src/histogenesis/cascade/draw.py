"""Drawing one level: sampler stages over the tiles of a canvas, under a constraint, from a noise field.

One network evaluation of the sampler is one pass over the canvas. In a pass every tile reads its window of the state,
asks the denoiser, applies the constraint, takes the sampler's pointwise step, and writes its core to the other buffer.
Nothing depends on the order of the tiles, on their place in a batch, or on where a drawing was stopped and taken up again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from histogenesis.cascade.canvas import BAND_PX, Level, Planes, write_level
from histogenesis.cascade.constraints import project
from histogenesis.cascade.tiling import Drawn, Tile, grid_shift, shifted_grid
from histogenesis.config import Level as LevelSection
from histogenesis.diffusion.guidance import scaled
from histogenesis.diffusion.model import Normalisation
from histogenesis.diffusion.noise import NoiseField
from histogenesis.diffusion.samplers import release_sigma, stages
from histogenesis.diffusion.threshold import thresholded
from histogenesis.interrupt import Stopped


@dataclass
class Drawing:
    """One level of one synthetic slide.

    `denoise(x_bchw, sigma_b, mpp_b)` works in the model's units. `above` is the finished level above (null-space wants
    it), `plan` the tissue plan at level 0's scale (None: everything is drawn), `background` its RGB colour, `learned` the noise
    levels of the model's schedule (None: it has none).
    """

    section: LevelSection
    size_px: tuple[int, int]
    k: int
    seed: int
    slide: str
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor]
    normalisation: Normalisation
    above: Level | None = None
    plan: np.ndarray | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    device: str = "cpu"
    learned: list[float] | None = None

    def __post_init__(self):
        s = self.section
        self.stages = stages(**s.sampler.solver, learned=self.learned)
        first = {stage.step: stage.sigma for stage in reversed(self.stages)}
        self.sigmas = [*(first[step] for step in sorted(first)), 0.0]
        self.release = 0.0
        if s.constraint.kind == "null-space":
            relaxation = s.constraint.relaxation
            self.release = (
                release_sigma(self.sigmas, relaxation.steps) if relaxation.sigma is None else relaxation.sigma
            )
        self.factor = 2 if s.constraint.kind == "null-space" else 1
        self.noise = NoiseField(self.seed, self.slide, s.model, self.k)
        self.drawn = Drawn(self.plan, *self.size_px)
        self.background_x = self.normalisation.encode(torch.tensor(self.background).reshape(3, 1, 1)).numpy()

    # ------------------------------------------------------------------ one pass

    def tiles(self, stage: int) -> list[Tile]:
        """The tiles of a pass whose core holds something to draw."""
        height, width = self.size_px
        if self.section.joining.kind == "grid-shift":
            tiles = grid_shift(height, width, self.section.tile_px, self.factor, self.seed, self.slide, self.k, stage)
        else:
            tiles = shifted_grid(height, width, self.section.tile_px, 0, 0)
        return [tile for tile in tiles if self.drawn.any(tile.core)]

    def state(self, stage: int, planes: Planes, tile: Tile) -> np.ndarray:
        """x of a tile's window, float32 (3, t, t): the state where it is drawn, the re-noised background elsewhere."""
        sigma, drawn = np.float32(self.stages[stage].sigma), self.drawn[tile.window]
        if stage and drawn.all():
            return planes.before("x")[(slice(None), *tile.window)]
        noise = sigma * self.noise.window(tile.y, tile.x, tile.size, tile.size)
        x = planes.before("x")[(slice(None), *tile.window)] if stage else noise
        return np.where(drawn, x, self.background_x + noise)

    def constrain(self, stage: int, denoised: Tensor, tiles: list[Tile]) -> Tensor:
        """Project the estimates on the level above, while the constraint holds (Harb et al. 2024, eq. 21)."""
        if self.section.constraint.kind != "null-space" or self.sigmas[self.stages[stage].step] <= self.release:
            return denoised
        f = self.factor
        y = np.stack([self.above.window(t.y // f, t.x // f, t.size // f, t.size // f) for t in tiles])
        y = self.normalisation.encode(torch.from_numpy(y.transpose(0, 3, 1, 2)))
        return project(denoised, y.to(self.device), f)

    @torch.inference_mode()
    def draw_batch(self, stage: int, planes: Planes, tiles: list[Tile]) -> None:
        """One network evaluation of up to `batch` tiles, padded to that number: the batch shape is part of the recipe."""
        padded = tiles + [tiles[-1]] * (self.section.batch - len(tiles))
        x = torch.from_numpy(np.stack([self.state(stage, planes, tile) for tile in padded])).to(self.device)
        n, update = len(padded), self.stages[stage].update
        sigma = torch.full((n,), self.stages[stage].sigma, device=self.device)
        mpp = torch.full((n,), self.section.mpp, device=self.device)
        sampler = self.section.sampler
        denoised = scaled(self.denoise(x, sigma, mpp), x, sampler, self.stages[stage].step)
        denoised = thresholded(denoised, sampler.threshold, self.normalisation)
        denoised = self.constrain(stage, denoised, padded)
        memory = None
        if stage and self.stages[stage - 1].remembers:
            memory = np.stack([planes.before("memory")[(slice(None), *tile.window)] for tile in padded])
            memory = torch.from_numpy(memory).to(self.device)
        x, memory = update(x, denoised, memory)
        if self.stages[stage].fresh:
            fresh = [self.noise.window(tile.y, tile.x, tile.size, tile.size, step=stage + 1) for tile in padded]
            x = x + self.stages[stage].fresh * torch.from_numpy(np.stack(fresh)).to(self.device)
        for name, values in (("x", x), ("memory", memory if self.stages[stage].remembers else None)):
            if values is not None:
                for tile, value in zip(tiles, values.cpu().numpy()):
                    planes.after(name)[(slice(None), *tile.core)] = value[(slice(None), *tile.core_in_window)]

    # ------------------------------------------------------------------ the whole level

    def run(self, state: Path, digest: str, stop=False, save_every_s: float = 30.0) -> Planes:
        """Draw all passes, going on from where `state` says; returns the planes, whose `before("x")` is the result.

        Raises Stopped, with the state saved, once `stop` is true.
        """
        planes = Planes(state, *self.size_px, digest, with_memory=any(stage.remembers for stage in self.stages))
        if planes.stage or planes.batch:
            print(f"going on from pass {planes.stage} of {len(self.stages)}, batch {planes.batch}", flush=True)
        saved = time.monotonic()
        bar = tqdm(unit="tile", mininterval=2, desc=f"{self.slide} level {self.k}")
        for stage in range(planes.stage, len(self.stages)):
            tiles = self.tiles(stage)
            batches = [tiles[i : i + self.section.batch] for i in range(0, len(tiles), self.section.batch)]
            bar.total = bar.n + len(tiles) * (len(self.stages) - stage)
            for number in range(planes.batch, len(batches)):
                self.draw_batch(stage, planes, batches[number])
                bar.update(len(batches[number]))
                stopping = bool(stop)
                if stopping or time.monotonic() - saved > save_every_s:
                    planes.save(stage, number + 1)
                    saved = time.monotonic()
                if stopping:
                    raise Stopped(f"{self.slide} level {self.k}: stopped on request, state saved in {state}")
            planes.save(stage + 1, 0)
        bar.close()
        return planes

    def bands(self, planes: Planes) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows: what was drawn, and the background colour elsewhere."""
        height, width = self.size_px
        for y in range(0, height, BAND_PX):
            rows = slice(y, min(y + BAND_PX, height))
            x = torch.from_numpy(planes.before("x")[:, rows])
            rgb = self.normalisation.to_uint8(x).numpy().transpose(1, 2, 0)
            drawn = self.drawn[rows, slice(0, width)]
            yield y, np.where(drawn[..., None], rgb, np.array(self.background, np.uint8))

    def finish(self, planes: Planes, out: Path, **facts) -> None:
        """Write level{k}.h5."""
        facts = {
            "mpp": self.section.mpp,
            "level": self.k,
            "slide": self.slide,
            "seed": self.seed,
            "model": self.section.model,
            "background": np.array(self.background, np.uint8),
            "drawn": self.drawn.share,
            "synthetic": True,
            **facts,
        }
        write_level(out, self.bands(planes), *self.size_px, facts)
