"""A canvas whose tiles take every step together: its state between the steps, and the pixels that nobody draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from histogenesis.canvas.canvas import BAND_PX
from histogenesis.canvas.conditioning_crop import encoded
from histogenesis.canvas.foreground import Foreground
from histogenesis.canvas.journal import Journal
from histogenesis.canvas.place import place_of
from histogenesis.canvas.plan import Round, state_bytes
from histogenesis.canvas.room import give_back, in_room
from histogenesis.canvas.share import Share
from histogenesis.canvas.state import State, Window
from histogenesis.canvas.task import Task
from histogenesis.canvas.tiling import ForegroundMask, Tile, TileIndex
from histogenesis.core.errors import BadInput
from histogenesis.sampling.solvers import solve

PART_PX = 1 << 18  # of tiles' px, at once on a CPU


class Canvas:
    """The easel of joinings that let tiles agree at every step."""

    def __init__(
        self,
        d: Task,
        folder: Path,
        digest: str,
        place: str | None = None,
        memory: int | None = None,
        share: Share | None = None,
    ):
        self.share, place = share or Share(), "files" if share and share.count > 1 else place
        self.d, self.joining, self.layout = d, d.section.joining, d.layout
        self.takes, self.field = d.takes[-1], d.noise(d.section.networks[-1])
        self.estimates = [f"estimate.{n}" for n in range(self.joining.colours)]
        has_history = any(take.evaluation.has_history for take in self.takes)
        planes = ["x", *(["history"] if has_history else [])]
        shape, dtype = (d.codec.channels, self.layout.height, self.layout.width), d.section.state
        if Journal(folder, digest).begun_in_files():
            place = "files"
            print("state: files, where it was begun", flush=True)
        if place is None:
            needed = state_bytes(d.section, *shape[1:], shape[0], len(planes))
            place = place_of(needed, d.device, folder, memory)
        state = partial(State, folder, shape, digest, planes, self.estimates)
        self.state = self.state_in(partial(state, dtype=dtype, device=d.device, share=self.share), place)
        self.caches_above = self.state.place != "files"
        self.device = d.device if self.state.place == "device" else "cpu"
        self.background = self.encoded_background()
        if d.plan is not None:
            self.foreground = Foreground(d.foreground, d.device)
        if self.state.round or self.state.batch:
            print(f"going on from pass {self.state.round} of {len(self.takes)}, batch {self.state.batch}", flush=True)

    def state_in(self, state: Callable[..., State], place: str) -> State:
        """The state; in memory where the device has no room for it after all."""
        try:
            return state(place=place)
        except torch.OutOfMemoryError:
            if place != "device":
                raise
        give_back(self.d.device, self.d.name)
        return state(place="host")

    def encoded_background(self) -> Tensor:
        """The background's colour in the state, (C, 1, 1): from the middle of a tile of it, as borders encode otherwise."""
        side, middle = self.d.section.tile_px, self.layout.tile // 2
        colour = torch.tensor(self.d.background).reshape(1, 3, 1, 1).to(self.d.device)
        tile = self.d.bundles[-1].normalisation.encode(colour).expand(1, 3, side, side).contiguous()
        return self.d.codec.encode(tile)[0, :, middle : middle + 1, middle : middle + 1]

    def before(self, name: str) -> Tensor:
        return self.state.before(name)

    # ------------------------------------------------------------------ a round

    def batches(self) -> Iterator[tuple[Round, list[TileIndex]]]:
        """The tiles that are left, pass by pass and batch by batch: those whose core holds something to draw. Of several
        processes each draws a band of them, and all end a pass together, with an empty batch."""
        size = self.d.section.batch
        for number in range(self.state.round, len(self.d.schedule)):
            this_round = self.d.schedule[number]
            asked = self.share.of(
                [index for index, tile in this_round.tiles.items() if self.d.foreground.any(tile.core)]
            )
            self.state.begin([this_round.tiles[index] for index in asked])
            begun = self.state.batch * size
            self.left = (len(asked) - begun) + len(asked) * (len(self.d.schedule) - number - 1)
            for first in range(begun, len(asked), size):
                yield this_round, asked[first : first + size]
            self.end_round(this_round)
            if self.share.count > 1:
                yield this_round, []

    def stopping(self, asked: bool, indices: list[TileIndex]) -> bool:
        """Whether to stop after a batch. Several processes do so together, between two passes: none waits for another then."""
        return asked if self.share.count == 1 else not indices and self.share.any(asked)

    def draw_tiles(self, this_round: Round, indices: list[TileIndex], count: int) -> None:
        """The pass of a batch, of which the first `count` tiles are kept: the network's answer to all of it at once, then all
        else in parts that fit a processor's cache."""
        tiles, take = [this_round.tiles[index] for index in indices], self.takes[this_round.first]
        answer, parts = self.d.answer(0, tiles, None), list(self.parts(tiles, count))
        x = self.begin(this_round, tiles, parts)
        denoised = answer(x, take.evaluation)
        self.state.staging.settle()  # what the batch before has become, while the network is at this one
        for part in parts:
            some = tiles[part]
            estimate = self.d.constrain(0, some, denoised[part], take.evaluation)
            if self.joining.colours:  # the step is taken when all tiles have given their estimate
                self.store_estimates(some, estimate)
                continue
            self.solve_and_store(this_round, [t.window for t in some], [t.core for t in some], x[part], estimate)

    def parts(self, tiles: list[Tile], count: int) -> Iterator[slice]:
        """The first `count` tiles, in parts."""
        many = max(1, PART_PX // tiles[0].size ** 2) if torch.device(self.d.device).type == "cpu" else count
        return (slice(i, min(i + many, count)) for i in range(0, count, many))

    def begin(self, this_round: Round, tiles: list[Tile], parts: list[slice]) -> Tensor:
        """x of tiles before a pass; on their grounds where nothing is drawn. Tiles that only fill a batch repeat the last."""
        if this_round.number:
            x = self.state.x(tiles)
            for part in parts:
                self.put_ground(this_round, [tile.window for tile in tiles[part]], x[part])
            return x
        d, side = self.d, tiles[0].size
        x = torch.empty(len(tiles), d.codec.channels, side, side, device=d.device)
        for part in parts:
            self.initial_x(this_round, [tile.window for tile in tiles[part]], x[part])
        x[parts[-1].stop :] = x[parts[-1].stop - 1]
        return x

    def noise(self, windows: list[Window]) -> Callable[[str, int, int], Tensor]:
        """Noise over windows of one size."""
        corners = [(rows.start, columns.start) for rows, columns in windows]
        height, width = (part.stop - part.start for part in windows[0])
        return lambda purpose, step, resample_index: self.field.windows(corners, height, width, step, resample_index)

    def initial_x(self, this_round: Round, windows: list[Window], out: Tensor) -> None:
        """What a level starts from: noise, and the level above, enlarged, if it does not start from noise alone."""
        torch.mul(self.noise(windows)("fresh", 0, 0), self.takes[0].evaluation.sigma, out=out)
        if self.d.section.start is not None:
            views = [self.d.beginning(*window) for window in windows]
            out += encoded(views, self.d.bundles[-1].normalisation, out.device)
        self.put_ground(this_round, windows, out)

    def put_ground(self, this_round: Round, windows: list[Window], x: Tensor) -> None:
        """Where nothing is drawn x is background, noised to the level that a pass begins with."""
        some = [n for n, window in enumerate(windows) if not self.d.foreground.all(window)]
        if not some:
            return
        mask = self.foreground.windows([windows[n] for n in some])
        corners, (height, width) = [(windows[n][0].start, windows[n][1].start) for n in some], mask.shape[1:]
        noise = self.field.windows(corners, height, width, where=~mask)
        ground = self.background + self.takes[this_round.first].evaluation.sigma * noise
        for n, drawn, below in zip(some, mask, ground):
            x[n] = torch.where(drawn, x[n], below)

    def solve_and_store(
        self, this_round: Round, windows: list[Window], cores: list[Window], x: Tensor, estimate: Tensor
    ) -> None:
        """The solver's step over windows of one size, and what it makes of their cores."""
        history = None
        if this_round.number and self.takes[this_round.first - 1].evaluation.has_history:
            history = self.state.read("history", windows)
        takes = self.takes[this_round.first : this_round.last]
        x, history = solve(x, takes, lambda x, evaluation: estimate, self.noise(windows), history)
        for name, values in (("x", x), ("history", history)):
            if name in self.state.names and values is not None:
                self.state.write(name, cores, [value[inside(*at)] for value, *at in zip(values, windows, cores)])

    def after_batch(self, stopping: bool, save_every_s: float) -> None:
        if self.share.count > 1:  # what they have drawn is saved at the end of each pass
            return
        self.state.batch += 1
        if stopping or self.state.due(save_every_s):
            self.state.save()
        if stopping:
            self.state.wait()

    def end_round(self, this_round: Round) -> None:
        if self.estimates:
            self.state.staging.settle()
            self.share.wait()
            self.take_merged_step(this_round)
        self.state.end()
        if self.state.round == len(self.takes):
            self.state.save(["x"])  # all that the picture needs
            self.state.wait()

    def leave_device(self) -> bool:
        """Whether there was a state on the device; it is in memory now."""
        if self.state.place != "device":
            return False
        self.state.leave_device()
        if self.d.crop is not None:
            self.d.crop.let_go()
        give_back(self.d.device, self.d.name)
        return True

    # ------------------------------------------------------------------ estimates that are merged

    def store_estimates(self, tiles: list[Tile], estimates: Tensor) -> None:
        """Tiles of one colour do not overlap, so that their estimates lie in one plane."""
        for tile, estimate in zip(tiles, estimates):
            self.state.write(f"estimate.{self.joining.colour(self.layout, tile)}", [tile.window], [estimate])

    def take_merged_step(self, this_round: Round) -> None:
        """The step of the whole canvas, from the merged estimates of all tiles that cover a pixel; band by band."""
        height, width = self.layout.height, self.layout.width
        for y in self.share.of(range(0, height, BAND_PX)):
            window = slice(y, min(y + BAND_PX, height)), slice(0, width)
            step = partial(self.take_step_of_band, this_round, window)
            refusal = f"{self.d.name}: {self.d.device} has no room for {BAND_PX} rows of {width} px: draw on a CPU"
            in_room(step, self.leave_device, refusal)

    @torch.inference_mode()
    def take_step_of_band(self, this_round: Round, window: Window) -> None:
        rows, columns = (part.stop - part.start for part in window)
        if this_round.number:
            x = self.state.read("x", [window]).clone()
            self.put_ground(this_round, [window], x)
        else:
            x = torch.empty(1, self.d.codec.channels, rows, columns, device=self.d.device)
            self.initial_x(this_round, [window], x)
        estimate = self.joining.merge(self.layout, window, lambda n: self.state.read(f"estimate.{n}", [window])[0])
        self.solve_and_store(this_round, [window], [window], x, estimate[None])

    # ------------------------------------------------------------------ the result

    def bands(self) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows. Where the device has no room any more, those that are left come from memory."""
        given = 0
        for again in (False, True):
            try:
                for band in islice(self.bands_of_state(), given, None):
                    yield band
                    given += 1
                return
            except torch.OutOfMemoryError:
                pass
            if again or not self.leave_device():
                raise BadInput(self.d.no_room)

    def bands_of_state(self) -> Iterator[tuple[int, np.ndarray]]:
        d, ground = self.d, ForegroundMask(self.d.plan, *self.d.size_px)

        def finished(window: Window) -> Tensor:
            x = self.state.read("x", [window])[0]
            if d.foreground.all(window):
                return x
            return torch.where(self.foreground.windows([window])[0], x, self.background)

        size = self.layout.height, self.layout.width
        for y, generated in d.codec.bands(finished, d.foreground.any, size, self.layout.tile, d.section.batch):
            window = slice(y, y + len(generated)), slice(0, d.size_px[1])
            all_drawn = ground.all(window)
            yield (
                y,
                generated
                if all_drawn
                else np.where(ground[window][..., None], generated, np.array(d.background, np.uint8)),
            )


def inside(window: Window, core: Window) -> tuple[slice, ...]:
    """A core within its window, of all channels."""
    return (slice(None), *(slice(c.start - w.start, c.stop - w.start) for w, c in zip(window, core)))
