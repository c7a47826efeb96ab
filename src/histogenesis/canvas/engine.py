"""The engine: draws one level of one synthetic slide as its plan says, under a constraint, from a noise field.

A round's tiles, batch by batch, go through the same few lines whatever the joining: what the network is given beside them, the
chain from its answer to an estimate (sampling/estimate.py), the solver's loop (sampling/solvers.py). Where pixels come from
and go to is the easel's: a canvas whose tiles take every step together (stepwise.py), or tiles that are drawn to their end
(tilewise.py). Nothing depends on the order of the tiles, on their place in a batch, or on where a drawing was stopped and
taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from histogenesis.canvas.canvas import Level, write_made
from histogenesis.canvas.codec import Latents, Pixels, enlarged
from histogenesis.canvas.constraints import Constraint
from histogenesis.canvas.plan import Round, plan_of
from histogenesis.canvas.share import Share
from histogenesis.canvas.sight import Sight, seen_pictures, tensor
from histogenesis.canvas.stepwise import Canvas
from histogenesis.canvas.tilewise import TileFiles
from histogenesis.canvas.tiling import Drawn, Place, Tile
from histogenesis.core.errors import BadInput
from histogenesis.core.field import NoiseField
from histogenesis.core.interrupt import Stopped
from histogenesis.models.conditions import pictures_of
from histogenesis.sampling.estimate import estimator
from histogenesis.sampling.solvers import Stage, solve, stages, step_levels, takes

if TYPE_CHECKING:
    from histogenesis.models.model import Normalisation
    from histogenesis.recipe import Level as LevelSection
    from histogenesis.recipe import Smaller


@dataclass
class Bundle:
    """A model as a level uses it: `denoise(x_bchw, sigma_b, mpp_b, **cond)`, guided, in its own units.

    learned: the noise levels of its schedule (None: it has none); codec: what it draws in (None: pixels).
    """

    denoise: Callable[..., Tensor] | None
    normalisation: Normalisation
    conditions: Sequence[str] = field(default_factory=list)
    learned: list[float] | None = None
    codec: Pixels | Latents | None = None


@dataclass
class Drawing:
    """One level of one synthetic slide.

    section: mpp, tiles, constraint, joining, samplers (recipe.Level, or anything with its attributes). bundles: one for each
    of its networks. above: the finished level above; plan: the tissue plan at level 0's scale (None: everything is drawn);
    background: its RGB colour. The state, its tiles and its noise lie in the codec's space; the level above and the plan are
    pictures.
    """

    section: LevelSection
    size_px: tuple[int, int]
    k: int
    seed: int
    slide: str
    bundles: list[Bundle]
    above: Level | None = None
    plan: np.ndarray | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    device: str = "cpu"

    def __post_init__(self):
        s, last = self.section, self.bundles[-1]
        self.codec = last.codec or Pixels(last.normalisation)
        f = self.codec.factor
        start = s.start and s.start.sigma
        try:
            self.stages = [
                stages(**network.sampler.solver, learned=bundle.learned, start=start)
                for network, bundle in zip(s.networks, self.bundles)
            ]
        except ValueError as error:  # of a model that another run trained
            raise BadInput(f"level {self.k}: {error}") from None
        self.takes = [takes(stage_list, s.joining.resample) for stage_list in self.stages]
        self.step_sigmas = [step_levels(stage_list) for stage_list in self.stages]
        self.sight = None
        if self.above is not None:
            ratio = tuple(mine / other for mine, other in zip(self.size_px, self.above.shape))
            self.sight = Sight(self.above, ratio, self.background)
        ratio = self.sight.ratio[0] if self.sight else 1
        self.block = s.constraint.block_px(ratio)
        self.schedule = plan_of(s, self.size_px, (self.seed, self.slide, self.k), f, ratio)
        self.layout = self.schedule.layout
        assert self.schedule.evaluations == tuple(map(len, self.takes))
        self.drawn = Drawn(self.plan, *self.size_px, f)
        self.picture: Tensor | None = None  # the level above, where it is held: uint8 (3, H, W)

    def noise(self, network: Smaller, purpose: str = "fresh") -> NoiseField:
        """Noise for one purpose of one network."""
        key = (self.seed, self.slide, network.model, self.k, *([purpose] if purpose != "fresh" else []))
        return NoiseField(*key, channels=3 if purpose == "lowres" else self.codec.channels, device=self.device)

    # ------------------------------------------------------------------ one batch

    def answer(self, n: int, tiles: list[Tile], smaller: Tensor | None) -> Callable[[Tensor, Stage], Tensor]:
        """What the n-th network makes of tiles; smaller: what the one before has made of them, 0 to 255."""
        network, bundle = self.section.networks[n], self.bundles[n]
        scale = self.section.tile_px // network.tile_px
        return estimator(
            bundle.denoise,
            network.sampler,
            bundle.normalisation,
            self.section.mpp * scale,
            **self.cond(network, bundle, tiles, smaller),
        )

    def constrain(self, n: int, tiles: Sequence[Tile], denoised: Tensor, stage: Stage) -> Tensor:
        """Estimates of the n-th network as the constraint wants them, while it does."""
        constraint: Constraint = self.section.constraint
        if not constraint.projects(self.step_sigmas[n][stage.step]):
            return denoised
        return constraint.apply(denoised, self.shown_above(tiles, self.bundles[n].normalisation))

    def shown_above(self, tiles: Sequence[Tile], normalisation: Normalisation) -> Tensor:
        """The tiles' own part of the level above, in model units."""
        if self.picture is None:
            return tensor([self.sight.same(tile) for tile in tiles], normalisation).to(self.device)
        f = self.block
        corners, side = [(tile.y // f, tile.x // f) for tile in tiles], tiles[0].size // f
        y = torch.stack([self.picture[:, y : y + side, x : x + side] for y, x in corners])
        return normalisation.encode(y.to(self.device))

    def cond(self, network: Smaller, bundle: Bundle, tiles: list[Tile], smaller: Tensor | None) -> dict[str, Tensor]:
        """The pictures that a network is given beside tiles."""
        f = self.codec.factor
        found = seen_pictures(
            pictures_of(bundle.conditions),
            [Tile(f * t.y, f * t.x, f * t.size, enlarged(t.core, f)) for t in tiles],
            network.tile_px,
            self.sight,
            bundle.normalisation,
            self.noise(network, "lowres"),
            self.section.lowres_noise,
            None if smaller is None else bundle.normalisation.encode(smaller),
        )
        if "seen_bchw" in found:
            found["seen_bchw"] = self.codec.encode(found["seen_bchw"])
        return found

    @torch.inference_mode()
    def draw_batch(self, easel: Canvas | TileFiles, one: Round, places: list[Place]) -> None:
        """Up to `batch` tiles of a round, padded to that number: the batch shape is part of the recipe."""
        padded = places + [places[-1]] * (self.section.batch - len(places))
        tiles, smaller = [one.tiles[place] for place in padded], None
        if isinstance(easel, Canvas):
            return easel.take_step(one, tiles, len(places), self.answer(0, tiles, None), partial(self.constrain, 0))
        for n in range(len(self.bundles)):
            answer = self.answer(n, tiles, smaller)

            def estimate(x: Tensor, stage: Stage, n=n, answer=answer) -> Tensor:
                return self.constrain(n, tiles, answer(x, stage), stage)

            x, noise, after = easel.begin(n, one, padded, tiles)
            x, _ = solve(x, self.takes[n][one.first : one.last], estimate, noise, None, after)
            smaller = easel.end(n, tiles, x, len(places))

    # ------------------------------------------------------------------ the whole level

    def run(
        self,
        folder: Path,
        digest: str = "",
        stop: bool = False,
        save_every_s: float = 30.0,
        place: str | None = None,
        memory: int | None = None,
        share: Share | None = None,
    ) -> Canvas | TileFiles:
        """Draw what is left, going on from where `folder` says; returns the easel, which `finish` takes.

        Tiles that are drawn to their end may be drawn by several processes at once, each of which returns when all are
        finished. place: where the state lies (default: where it fits); memory: bytes of it that may be used; share: which of
        several processes that draw one canvas this is. Raises Stopped, with the state saved, once `stop` is true.
        """
        easel = TileFiles(self, folder) if self.schedule.whole else Canvas(self, folder, digest, place, memory, share)
        if easel.holds_above and self.section.constraint.doubles:
            self.picture = torch.from_numpy(self.above.image[:]).permute(2, 0, 1).contiguous().to(easel.device)
        words = f"{self.slide} level {self.k}"
        with tqdm(unit="tile", mininterval=2, desc=words) as bar:
            for one, places in easel.batches():
                bar.total = max(bar.n + len(places), bar.total or easel.left)
                if places:
                    self.draw_or_make_room(easel, one, places)
                    bar.update(len(places))
                stopping = easel.stopping(bool(stop), places)
                easel.drawn_batch(stopping, save_every_s)
                if stopping:
                    raise Stopped(f"{words}: stopped on request, state saved in {folder}")
        return easel

    def draw_or_make_room(self, easel: Canvas | TileFiles, one: Round, places: list[Place]) -> None:
        """Draw a batch; where the device has no room for it, with the state in memory from now on: the pixels are the same."""
        try:
            self.draw_batch(easel, one, places)
        except torch.OutOfMemoryError:
            if not easel.leave_device():
                raise BadInput(
                    f"{self.slide} level {self.k}: {self.device} has no room for {self.section.batch} tiles of"
                    f" {self.section.tile_px} px at once: set a smaller `batch`"
                ) from None
            self.picture = None
            if torch.device(self.device).type == "cuda":
                torch.cuda.empty_cache()
            print(
                f"{self.slide} level {self.k}: out of memory on {self.device}; the state lies in memory now", flush=True
            )
            self.draw_batch(easel, one, places)

    def bands(self, easel: Canvas | TileFiles) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows, top to bottom: what was drawn, and the background colour elsewhere."""
        return easel.bands()

    def finish(self, easel: Canvas | TileFiles, out: Path, **facts) -> None:
        """Write level{k}.h5."""
        write_made(out, self, easel.bands(), **facts)
