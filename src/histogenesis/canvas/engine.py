"""The engine: draws one level of one synthetic slide as its plan says, under a constraint, from a noise field.

A round's tiles go batch by batch to an easel: a canvas whose tiles take every step together (stepwise.py), or tiles that are
drawn to their end (tilewise.py). Whatever the joining, what the network is given beside them comes from task.py, the chain from
its answer to an estimate from sampling/estimate.py, the solver's loop from sampling/solvers.py. Nothing depends on the order of
the tiles, on their place in a batch, or on where a drawing was stopped and taken up again.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from histogenesis.canvas.canvas import write_generated
from histogenesis.canvas.plan import Round
from histogenesis.canvas.room import in_room
from histogenesis.canvas.share import Share
from histogenesis.canvas.stepwise import Canvas
from histogenesis.canvas.task import Task
from histogenesis.canvas.tilewise import TileFiles
from histogenesis.canvas.tiling import TileIndex
from histogenesis.core.interrupt import Stopped


class Drawing(Task):
    """One level of one synthetic slide, being drawn."""

    @torch.inference_mode()
    def draw_batch(self, easel: Canvas | TileFiles, this_round: Round, indices: list[TileIndex]) -> None:
        """Up to `batch` tiles of a round, padded to that number: the batch shape is part of the recipe."""
        padded = indices + [indices[-1]] * (self.section.batch - len(indices))
        easel.draw_tiles(this_round, padded, len(indices))

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
        easel = (
            TileFiles(self, folder)
            if self.schedule.tile_by_tile
            else Canvas(self, folder, digest, place, memory, share)
        )
        if easel.caches_above and self.shows_above:
            self.hold_above(easel.device)
        with tqdm(unit="tile", mininterval=2, desc=self.name) as bar:
            for this_round, indices in easel.batches():
                bar.total = max(bar.n + len(indices), bar.total or easel.left)
                if indices:
                    draw = partial(self.draw_batch, easel, this_round, indices)
                    in_room(draw, easel.leave_device, self.no_room)
                    bar.update(len(indices))
                stopping = easel.stopping(bool(stop), indices)
                easel.after_batch(stopping, save_every_s)
                if stopping:
                    raise Stopped(f"{self.name}: stopped on request, state saved in {folder}")
        return easel

    def hold_above(self, device: str) -> None:
        """Keep the level above on the device; in memory where the device has no room for it, and it is sent at each pass."""
        try:
            return self.crop.hold(device)
        except torch.OutOfMemoryError:
            pass
        print(f"{self.name}: no room for the level above on {device}; it lies in memory", flush=True)
        self.crop.hold("cpu")

    def bands(self, easel: Canvas | TileFiles) -> Iterator[tuple[int, np.ndarray]]:
        """The finished level as uint8 rows, top to bottom: what was drawn, and the background colour elsewhere."""
        return easel.bands()

    def finish(self, easel: Canvas | TileFiles, out: Path, **metadata) -> None:
        """Write level{k}.h5."""
        write_generated(out, self, easel.bands(), **metadata)
