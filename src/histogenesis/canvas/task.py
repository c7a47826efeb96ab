"""What is asked of a drawing, and what a batch of its tiles needs: pictures beside them, estimates, the constraint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from histogenesis.canvas.canvas import Level
from histogenesis.canvas.codec import LatentCodec, PixelCodec, enlarged
from histogenesis.canvas.conditioning_crop import ConditioningCrop, build_cond, encoded
from histogenesis.canvas.plan import plan_of
from histogenesis.canvas.sections import DrawnLevel, Network
from histogenesis.canvas.tiling import ForegroundMask, Tile
from histogenesis.core.errors import BadInput
from histogenesis.core.field import NoiseField
from histogenesis.models.conditions import pictures_of
from histogenesis.sampling.estimate import estimator
from histogenesis.sampling.solvers import Evaluation, solver_evaluations, step_sigmas, takes

if TYPE_CHECKING:
    from histogenesis.models.model import Normalisation


@dataclass
class Bundle:
    """A model as a level uses it: `denoise(x_bchw, sigma_b, mpp_b, **cond)`, guided, in its own units.

    training_sigmas: the noise levels of its schedule (None: it has none); codec: what it draws in (None: pixels).
    """

    denoise: Callable[..., Tensor] | None
    normalisation: Normalisation
    conditions: Sequence[str] = field(default_factory=list)
    training_sigmas: list[float] | None = None
    codec: PixelCodec | LatentCodec | None = None


@dataclass
class Task:
    """What is to be drawn: one level of one synthetic slide; and what any batch of its tiles needs.

    section: mpp, tiles, constraint, joining, samplers (sections.DrawnLevel). bundles: one for each
    of its networks. above: the finished level above; plan: the tissue plan at level 0's scale (None: everything is drawn);
    background: its RGB colour. The state, its tiles and its noise lie in the codec's space; the level above and the plan are
    pictures.
    """

    section: DrawnLevel
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
        self.codec = last.codec or PixelCodec(last.normalisation)
        f = self.codec.factor
        start = s.start and s.start.sigma
        try:
            self.evaluations = [
                solver_evaluations(**network.sampler.solver, training_sigmas=bundle.training_sigmas, start=start)
                for network, bundle in zip(s.networks, self.bundles)
            ]
        except ValueError as error:  # of a model that another run trained
            raise BadInput(f"level {self.k}: {error}") from None
        self.takes = [takes(evaluations, s.joining.resample) for evaluations in self.evaluations]
        self.step_sigmas = [step_sigmas(evaluations) for evaluations in self.evaluations]
        self.crop: ConditioningCrop | None = None
        if self.above is not None:
            down, across = (mine / other for mine, other in zip(self.size_px, self.above.shape))
            self.crop = ConditioningCrop(self.above, (down, across), self.background)
        ratio = self.crop.ratio[0] if self.crop else 1
        self.block = s.constraint.block_px(ratio)
        self.schedule = plan_of(s, self.size_px, (self.seed, self.slide, self.k), f, ratio)
        self.layout = self.schedule.layout
        assert self.schedule.evaluations == tuple(map(len, self.takes))
        self.foreground = ForegroundMask(self.plan, *self.size_px, f)

    def noise(self, network: Network, purpose: str = "fresh") -> NoiseField:
        """Noise for one purpose of one network."""
        more = [purpose] if purpose != "fresh" else []
        key: tuple[int | str, ...] = (self.seed, self.slide, network.model, self.k, *more)
        return NoiseField(*key, channels=3 if purpose == "lowres" else self.codec.channels, device=self.device)

    @property
    def shows_above(self) -> bool:
        """Whether tiles need the level above."""
        return self.crop is not None and (self.section.constraint.follows or self.section.start is not None)

    @property
    def name(self) -> str:
        return f"{self.slide} level {self.k}"

    @property
    def no_room(self) -> str:
        """A refusal."""
        s = self.section
        return f"{self.name}: {self.device} has no room for {s.batch} tiles of {s.tile_px} px at once: set a smaller `batch`"

    def beginning(self, rows: slice, columns: slice) -> Tensor:
        """A part of the level above that a level starts from, enlarged: uint8 (3, h, w).

        As the model is shown it (bilinear), or A+ y: little noise would leave the edges of its squares to be seen.
        """
        smooth = "lowres" in self.section.constraint.conditions
        return self.crop.interpolate(rows, columns) if smooth else self.crop.upsample(rows, columns)

    # ------------------------------------------------------------------ of one batch

    def answer(self, n: int, tiles: list[Tile], lowres: Tensor | None) -> Callable[[Tensor, Evaluation], Tensor]:
        """What the n-th network makes of tiles; lowres: what the one before has made of them, 0 to 255."""
        network, bundle = self.section.networks[n], self.bundles[n]
        scale = self.section.tile_px // network.tile_px
        return estimator(
            bundle.denoise,
            network.sampler,
            bundle.normalisation,
            self.section.mpp * scale,
            **self.cond(network, bundle, tiles, lowres),
        )

    def constrain(self, n: int, tiles: Sequence[Tile], denoised: Tensor, evaluation: Evaluation) -> Tensor:
        """Estimates of the n-th network as the constraint wants them, while it does."""
        constraint = self.section.constraint
        if not constraint.projects(self.step_sigmas[n][evaluation.step]):
            return denoised
        return constraint.apply(denoised, self.lowres_of(tiles, self.bundles[n].normalisation))

    def lowres_of(self, tiles: Sequence[Tile], normalisation: Normalisation) -> Tensor:
        """The tiles' own part of the level above, in model units."""
        return encoded([self.crop.lowres(tile) for tile in tiles], normalisation, self.device)

    def cond(self, network: Network, bundle: Bundle, tiles: list[Tile], lowres: Tensor | None) -> dict[str, Tensor]:
        """The pictures that a network is given beside tiles."""
        f = self.codec.factor
        cond = build_cond(
            pictures_of(bundle.conditions),
            [Tile(f * t.y, f * t.x, f * t.size, enlarged(t.core, f)) for t in tiles],
            network.tile_px,
            self.crop,
            bundle.normalisation,
            self.noise(network, "lowres"),
            self.section.lowres_noise,
            None if lowres is None else bundle.normalisation.encode(lowres),
        )
        if "cond_image_bchw" in cond:
            cond["cond_image_bchw"] = self.codec.encode(cond["cond_image_bchw"])
        return cond
