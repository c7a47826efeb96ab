"""A canvas whose tiles take every step together: its state between the steps, and the pixels that nobody draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from histogenesis.canvas.canvas import BAND_PX
from histogenesis.canvas.place import place_of
from histogenesis.canvas.plan import Round, state_bytes
from histogenesis.canvas.state import State, Window
from histogenesis.canvas.tiling import Drawn, Place, Tile
from histogenesis.sampling.solvers import solve

if TYPE_CHECKING:
    from histogenesis.canvas.engine import Drawing

Started = tuple[Tensor, Tensor | None, Callable[[str, int, int], Tensor], None]


class Canvas:
    """The easel of joinings that let tiles agree at every step."""

    def __init__(self, d: Drawing, folder: Path, digest: str, place: str | None = None, memory: int | None = None):
        self.d, self.joining, self.layout = d, d.section.joining, d.layout
        self.takes, self.field = d.takes[-1], d.noise(d.section.networks[-1])
        self.estimates = [f"estimate.{n}" for n in range(self.joining.colours)]
        remembers = any(take.stage.remembers for take in self.takes)
        planes = ["x", *(["memory"] if remembers else [])]
        shape, dtype = (d.codec.channels, self.layout.height, self.layout.width), d.section.state
        if place is None:
            needed = state_bytes(d.section, *shape[1:], shape[0], len(planes))
            place = place_of(needed, d.device, folder, memory)
        self.state = State(folder, shape, digest, planes, self.estimates, place, dtype, d.device)
        self.round, self.holds_above = self.state.round, place != "files"
        self.device = d.device if place == "device" else "cpu"
        self.background = self.encoded_background()
        if self.state.round or self.state.batch:
            print(f"going on from pass {self.state.round} of {len(self.takes)}, batch {self.state.batch}", flush=True)

    def encoded_background(self) -> Tensor:
        """The background's colour in the state, (C, 1, 1): from the middle of a tile of it, as borders encode otherwise."""
        side, middle = self.d.section.tile_px, self.layout.tile // 2
        colour = self.d.bundles[-1].normalisation.encode(torch.tensor(self.d.background).reshape(1, 3, 1, 1))
        tile = colour.expand(1, 3, side, side).contiguous().to(self.d.device)
        return self.d.codec.encode(tile)[0, :, middle : middle + 1, middle : middle + 1]

    def before(self, name: str) -> Tensor:
        return self.state.before(name)

    # ------------------------------------------------------------------ a round

    def begin_round(self, one: Round, job: int = 0, jobs: int = 1) -> list[Place]:
        """The tiles of a pass whose core holds something to draw, without those that are drawn."""
        asked = [place for place, tile in one.tiles.items() if self.d.drawn.any(tile.core)]
        self.state.begin([one.tiles[place] for place in asked])
        return asked[self.state.batch * self.d.section.batch :]

    def begin(self, n: int, one: Round, places: list[Place], tiles: list[Tile]) -> Started:
        """x and memory of tiles before a pass, and its noise."""
        windows = [tile.window for tile in tiles]
        x = self.state.x(tiles) if one.number else None
        return self.started(one, windows, x)

    def started(self, one: Round, windows: list[Window], x: Tensor | None) -> Started:
        """x: the state of windows of one size, None before the first pass; on tiles' grounds where nothing is drawn."""
        corners = [(rows.start, columns.start) for rows, columns in windows]
        size = tuple(part.stop - part.start for part in windows[0])
        sigma = self.takes[one.first].stage.sigma

        def noise(purpose: str, step: int, draw: int) -> Tensor:
            return self.field.windows(corners, *size, step, draw)

        if x is None:
            x = self.from_above(windows) + sigma * noise("fresh", 0, 0)
        if not all(self.d.drawn.all(window) for window in windows):
            mask = torch.from_numpy(np.stack([self.d.drawn[window] for window in windows])).to(x.device)
            ground = self.background + sigma * self.field.windows(corners, *size, where=~mask)
            x = torch.where(mask[:, None], x, ground)
        memory = None
        if one.number and self.takes[one.first - 1].stage.remembers:
            memory = self.state.read("memory", windows)
        return x, memory, noise, None

    def from_above(self, windows: list[Window]) -> Tensor | float:
        """What a level starts from beside noise: the level above, enlarged, in model units (B, C, h, w); or nothing."""
        if self.d.section.start is None:
            return 0.0
        seen = np.stack([self.d.sight.shown(*window) for window in windows]).transpose(0, 3, 1, 2)
        return self.d.bundles[-1].normalisation.encode(torch.from_numpy(seen).to(self.d.device))

    def end(self, n: int, tiles: list[Tile], x: Tensor, memory: Tensor | None, count: int) -> None:
        """Keep the cores of the first `count` tiles after a pass."""
        self.keep([tile.core for tile in tiles[:count]], [tile.core_in_window for tile in tiles[:count]], x, memory)

    def keep(self, windows: list[Window], inside: list[Window], x: Tensor, memory: Tensor | None) -> None:
        for name, values in (("x", x), ("memory", memory)):
            if name in self.state.names and values is not None:
                parts = [value[(slice(None), *part)] for value, part in zip(values, inside)]
                self.state.write(name, windows, parts)

    def drawn_batch(self, stopping: bool, save_every_s: float) -> None:
        self.state.batch += 1
        if stopping or self.state.due(save_every_s):
            self.state.save()
        if stopping:
            self.state.wait()

    def end_round(self, one: Round) -> None:
        if self.estimates:
            self.take_merged_step(one)
        self.state.end()
        if self.state.round == len(self.takes):
            self.state.save()
            self.state.wait()

    def leave_device(self) -> bool:
        """Whether there was a state on the device; it is in memory now."""
        if self.state.place != "device":
            return False
        self.state.leave_device()
        return True

    # ------------------------------------------------------------------ estimates that are merged

    def keep_estimates(self, tiles: list[Tile], estimates: Tensor) -> None:
        """Tiles of one colour do not overlap, so that their estimates lie in one plane."""
        for tile, estimate in zip(tiles, estimates):
            self.state.write(f"estimate.{self.joining.colour(self.layout, tile)}", [tile.window], [estimate])

    @torch.inference_mode()
    def take_merged_step(self, one: Round) -> None:
        """The step of the whole canvas, from the merged estimates of all tiles that cover a pixel; band by band."""
        height, width = self.layout.height, self.layout.width
        for y in range(0, height, BAND_PX):
            window = slice(y, min(y + BAND_PX, height)), slice(0, width)

            def merged(x, stage, window=window):
                return self.joining.merge(
                    self.layout, window, lambda colour: self.state.read(f"estimate.{colour}", [window])[0]
                )[None]

            x, memory, noise, _ = self.started(one, [window], self.state.read("x", [window]) if one.number else None)
            x, memory = solve(x, self.takes[one.first : one.last], merged, noise, memory)
            self.keep([window], [(slice(None), slice(None))], x, memory)

    # ------------------------------------------------------------------ the result

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows."""
        d, ground = self.d, Drawn(self.d.plan, *self.d.size_px)

        def finished(window: Window) -> Tensor:
            x = self.state.read("x", [window])[0]
            if d.drawn.all(window):
                return x
            return torch.where(torch.from_numpy(d.drawn[window]).to(x.device), x, self.background)

        size = self.layout.height, self.layout.width
        for y, made in d.codec.bands(finished, d.drawn.any, size, self.layout.tile, d.section.batch):
            window = slice(y, y + len(made)), slice(0, d.size_px[1])
            whole = ground.all(window)
            yield y, made if whole else np.where(ground[window][..., None], made, np.array(d.background, np.uint8))
