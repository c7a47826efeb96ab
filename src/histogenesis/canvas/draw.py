"""Drawing one level: sampler stages over the tiles of a canvas, under a constraint, from a noise field.

One network evaluation of the sampler is one pass over the canvas. In a pass every tile reads its window of the state,
asks the denoiser, applies the constraint, takes the sampler's pointwise step, and writes its core to the other buffer.
Nothing depends on the order of the tiles, on their place in a batch, or on where a drawing was stopped and taken up again.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from histogenesis.canvas.canvas import BAND_PX, Level, Planes, write_made
from histogenesis.canvas.constraints import project
from histogenesis.canvas.sight import Sight, seen_pictures
from histogenesis.canvas.space import Latents, Pixels, Window, enlarged
from histogenesis.canvas.tiling import Drawn, Tile, grid_shift, shifted_grid
from histogenesis.canvas.waves import overlapping, starts
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped
from histogenesis.core.noise import NoiseField
from histogenesis.models.conditions import pictures_of
from histogenesis.models.model import Normalisation
from histogenesis.recipe import Level as LevelSection
from histogenesis.sampling.guidance import scaled
from histogenesis.sampling.solvers import stages, step_levels
from histogenesis.sampling.threshold import thresholded


@dataclass
class Drawing:
    """One level of one synthetic slide.

    `denoise(x_bchw, sigma_b, mpp_b)` works in the model's units. `above` is the finished level above (null-space and
    models with conditions want it), `plan` the tissue plan at level 0's scale (None: everything is drawn), `background` its
    RGB colour, `learned` the noise levels of the model's schedule (None: it has none), `conditions` what the model is told,
    `space` what the model draws in (None: pixels). The state, its tiles and its noise lie in that space; the level above and
    the plan are pictures.
    """

    section: LevelSection
    size_px: tuple[int, int]
    k: int
    seed: int
    slide: str
    denoise: Callable[..., Tensor]
    normalisation: Normalisation
    above: Level | None = None
    plan: np.ndarray | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    device: str = "cpu"
    learned: list[float] | None = None
    conditions: Sequence[str] = ()
    space: Pixels | Latents | None = None

    def __post_init__(self):
        s = self.section
        self.space = self.space or Pixels(self.normalisation)
        f = self.space.factor
        self.canvas, self.side = tuple(n // f for n in self.size_px), s.tile_px // f
        self.stride = s.stride_px // f
        try:
            self.stages = stages(**s.sampler.solver, learned=self.learned, start=s.start and s.start.sigma)
        except ValueError as error:  # of a model that another run trained
            raise BadInput(f"level {self.k}: {error}") from None
        self.sigmas = step_levels(self.stages)
        self.release = s.constraint.relaxation.sigma if s.constraint.kind == "null-space" else 0.0
        self.sight = None
        if self.above is not None:
            ratio = tuple(mine / other for mine, other in zip(self.size_px, self.above.shape))
            self.sight = Sight(self.above, ratio, self.background)
        self.factor = {"null-space": 2, "lowres": round(self.sight.ratio[0]) if self.sight else 1}.get(
            s.constraint.kind, 1
        )
        self.noise = NoiseField(self.seed, self.slide, s.model, self.k, channels=self.space.channels)
        self.grain = NoiseField(self.seed, self.slide, s.model, self.k, "lowres")
        self.drawn = Drawn(self.plan, *self.size_px, f)
        self.background_x = self.encoded_background()

    def encoded_background(self) -> np.ndarray:
        """The background's colour in the state, (C, 1, 1): from the middle of a tile of it, as borders encode otherwise."""
        colour = self.normalisation.encode(torch.tensor(self.background).reshape(1, 3, 1, 1))
        tile = colour.expand(1, 3, self.section.tile_px, self.section.tile_px).contiguous().to(self.device)
        middle = self.side // 2
        return self.space.encode(tile)[0, :, middle : middle + 1, middle : middle + 1].cpu().numpy()

    # ------------------------------------------------------------------ one pass

    def tiles(self, stage: int) -> list[Tile]:
        """The tiles of a pass whose core holds something to draw."""
        height, width = self.canvas
        if self.section.joining.kind == "grid-shift":
            align = self.factor // math.gcd(self.factor, self.space.factor)
            tiles = grid_shift(height, width, self.side, align, self.seed, self.slide, self.k, stage)
        elif self.section.joining.kind == "average":
            tiles = overlapping(height, width, self.side, self.stride).values()
        else:
            tiles = shifted_grid(height, width, self.side, 0, 0)
        return [tile for tile in tiles if self.drawn.any(tile.core)]

    def state(self, stage: int, planes: Planes, window: Window) -> np.ndarray:
        """x of a window, float32 (C, h, w): the state where it is drawn, the re-noised background elsewhere."""
        sigma, drawn = np.float32(self.stages[stage].sigma), self.drawn[window]
        if stage and drawn.all():
            return planes.before("x")[(slice(None), *window)]
        noise = sigma * self.noise_in(window)
        x = planes.before("x")[(slice(None), *window)] if stage else self.started(window) + noise
        return np.where(drawn, x, self.background_x + noise)

    def started(self, window: Window) -> np.ndarray | float:
        """What a level starts from beside noise: the level above, enlarged, in model units (C, h, w); or nothing."""
        if self.section.start is None:
            return 0.0
        seen = torch.from_numpy(self.sight.shown(*window).transpose(2, 0, 1))
        return self.normalisation.encode(seen).numpy()

    def noise_in(self, window: Window, step: int = 0) -> np.ndarray:
        rows, columns = window
        return self.noise.window(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start, step)

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
        x = torch.from_numpy(np.stack([self.state(stage, planes, tile.window) for tile in padded])).to(self.device)
        n = len(padded)
        sigma = torch.full((n,), self.stages[stage].sigma, device=self.device)
        mpp = torch.full((n,), self.section.mpp, device=self.device)
        sampler = self.section.sampler
        denoised = scaled(self.denoise(x, sigma, mpp, **self.seen(padded)), x, sampler, self.stages[stage].step)
        denoised = thresholded(denoised, sampler.threshold, self.normalisation)
        denoised = self.constrain(stage, denoised, padded)
        if self.section.joining.kind == "average":  # the step is taken once all tiles have said their estimate
            for tile, estimate in zip(tiles, denoised.cpu().numpy()):
                planes.maps[self.colour(tile)][(slice(None), *tile.window)] = estimate
            return
        x, memory = self.take_step(stage, planes, [tile.window for tile in padded], x, denoised)
        for name, values in (("x", x), ("memory", memory)):
            if values is not None:
                for tile, value in zip(tiles, values.cpu().numpy()):
                    planes.after(name)[(slice(None), *tile.core)] = value[(slice(None), *tile.core_in_window)]

    def seen(self, tiles: list[Tile]) -> dict[str, Tensor]:
        """The pictures that the model is given beside these tiles, as it sees them."""
        f = self.space.factor
        found = seen_pictures(
            pictures_of(self.conditions),
            [Tile(f * t.y, f * t.x, f * t.size, enlarged(t.core, f)) for t in tiles],
            self.section.tile_px,
            self.sight,
            self.normalisation,
            self.grain,
            self.section.lowres_noise,
        )
        found = {name: value.to(self.device) for name, value in found.items()}
        if "seen_bchw" in found:
            found["seen_bchw"] = self.space.encode(found["seen_bchw"])
        return found

    def take_step(
        self, stage: int, planes: Planes, windows: list[Window], x: Tensor, denoised: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The sampler's step for windows of one size: x and denoised (B, C, h, w) -> the next x, and memory if it is needed."""
        memory = None
        if stage and self.stages[stage - 1].remembers:
            memory = np.stack([planes.before("memory")[(slice(None), *window)] for window in windows])
            memory = torch.from_numpy(memory).to(self.device)
        x, memory = self.stages[stage].update(x, denoised, memory)
        if self.stages[stage].fresh:
            fresh = np.stack([self.noise_in(window, step=stage + 1) for window in windows])
            x = x + self.stages[stage].fresh * torch.from_numpy(fresh).to(self.device)
        return x, memory if self.stages[stage].remembers else None

    # ------------------------------------------------------------------ averages of overlapping tiles

    def colour(self, tile: Tile) -> str:
        """The plane that holds a tile's estimate: tiles of one colour do not overlap."""
        return f"estimate.{2 * (tile.y // self.stride % 2) + tile.x // self.stride % 2}"

    def covered(self, part: slice, length: int, colour: int) -> np.ndarray:
        """Where tiles of one colour (even: 0, odd: 1) lie along one side: float32 of the part's length."""
        found = np.zeros(length, np.float32)
        for n, start in enumerate(starts(length, self.side, self.stride)):
            if n % 2 == colour:
                found[start : start + self.side] = 1
        return found[part]

    @torch.inference_mode()
    def take_averaged_step(self, stage: int, planes: Planes) -> None:
        """The step of the whole canvas, from the mean of the estimates of all tiles that cover a pixel; band by band.

        The sum has a fixed order, so neither the tiles' order nor an interruption changes its rounding.
        """
        height, width = self.canvas
        for y in range(0, height, BAND_PX):
            window = slice(y, min(y + BAND_PX, height)), slice(0, width)
            total, count = np.float32(0), np.float32(0)
            for colour in range(4):
                weight = np.outer(
                    self.covered(window[0], height, colour // 2), self.covered(window[1], width, colour % 2)
                )
                total = total + weight * planes.maps[f"estimate.{colour}"][(slice(None), *window)]
                count = count + weight
            x = torch.from_numpy(self.state(stage, planes, window)[None].copy()).to(self.device)
            denoised = torch.from_numpy((total / count)[None]).to(self.device)
            x, memory = self.take_step(stage, planes, [window], x, denoised)
            for name, values in (("x", x), ("memory", memory)):
                if values is not None:
                    planes.after(name)[(slice(None), *window)] = values[0].cpu().numpy()

    # ------------------------------------------------------------------ the whole level

    def run(self, state: Path, digest: str, stop=False, save_every_s: float = 30.0) -> Planes:
        """Draw all passes, going on from where `state` says; returns the planes, whose `before("x")` is the result.

        Raises Stopped, with the state saved, once `stop` is true.
        """
        estimates = [f"estimate.{n}" for n in range(4)] if self.section.joining.kind == "average" else []
        with_memory = any(stage.remembers for stage in self.stages)
        planes = Planes(state, *self.canvas, digest, with_memory, estimates, self.space.channels)
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
            if estimates:
                self.take_averaged_step(stage, planes)
            planes.save(stage + 1, 0)
        bar.close()
        return planes

    def bands(self, planes: Planes) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows: what was drawn, and the background colour elsewhere."""

        def finished(window: Window) -> np.ndarray:
            return np.where(self.drawn[window], planes.before("x")[(slice(None), *window)], self.background_x)

        section, pixels = self.section, Drawn(self.plan, *self.size_px)
        found = self.space.bands(finished, self.drawn.any, self.canvas, self.side, section.batch, self.device)
        for y, rgb in found:
            drawn = pixels[slice(y, y + len(rgb)), slice(0, self.size_px[1])]
            yield y, np.where(drawn[..., None], rgb, np.array(self.background, np.uint8))

    def finish(self, planes: Planes, out: Path, **facts) -> None:
        """Write level{k}.h5."""
        write_made(out, self, self.bands(planes), **facts)
