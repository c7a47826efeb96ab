"""One queue of tiles that are drawn to their end: a tile is ready as soon as the neighbours that it holds are finished.

Any number of processes draw from it, on one machine or on several, with nothing in common but a folder. A tile is claimed by
locking its byte of one file; the kernel lets go of that when the process ends, however it ends, and another draws the tile.
No claim is needed for right pixels: two processes that drew one tile would write the same.
"""

from __future__ import annotations

import fcntl
import heapq
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from histogenesis.canvas.tiling import Tile, TileIndex
from histogenesis.canvas.wavefronts import neighbours


class Queue:
    """Tiles in the order of their wavefronts; finished(tile): whether somebody has drawn it, or nobody draws it."""

    def __init__(self, wavefronts: list[dict[TileIndex, Tile]], finished: Callable[[Tile], bool], file: Path):
        self.tiles = {index: tile for wavefront in wavefronts for index, tile in wavefront.items()}
        self.indices, self.finished, self.file = list(self.tiles), finished, open(file, "a+b")  # noqa: SIM115
        self.number = {index: n for n, index in enumerate(self.indices)}
        wavefront_of = {index: n for n, wavefront in enumerate(wavefronts) for index in wavefront}
        self.left = {index for index in self.indices if not finished(self.tiles[index])}
        self.waits: dict[TileIndex, set[TileIndex]] = {}
        self.wanted_by: dict[TileIndex, list[TileIndex]] = defaultdict(list)
        for index in self.left:
            before = [
                other for other in neighbours(index) if wavefront_of.get(other, len(wavefronts)) < wavefront_of[index]
            ]
            self.waits[index] = {other for other in before if other in self.left}
            for other in self.waits[index]:
                self.wanted_by[other].append(index)
        self.ready = [self.number[index] for index in self.left if not self.waits[index]]
        self.elsewhere: list[int] = []
        heapq.heapify(self.ready)

    def __len__(self) -> int:
        """How many are not finished."""
        return len(self.left)

    def claim(self, count: int) -> list[TileIndex]:
        """Up to `count` tiles that are ready and that nobody else is drawing; none where all others wait for those."""
        claimed: list[TileIndex] = []
        self._look_elsewhere()
        while self.ready and len(claimed) < count:
            number = heapq.heappop(self.ready)
            index = self.indices[number]
            if not self._lock(number):
                self.elsewhere.append(number)
            elif self.finished(self.tiles[index]):
                self.done([index])
            else:
                claimed.append(index)
        return claimed

    def done(self, indices: list[TileIndex]) -> None:
        """These are finished, and let go."""
        for index in indices:
            self.left.discard(index)
            for other in self.wanted_by.pop(index, ()):
                self.waits[other].discard(index)
                if not self.waits[other]:
                    heapq.heappush(self.ready, self.number[other])
            self._unlock(self.number[index])

    def _look_elsewhere(self) -> None:
        """Tiles that another process had: finished by now, or to be tried again."""
        numbers, self.elsewhere = self.elsewhere, []
        for number in numbers:
            index = self.indices[number]
            if self.finished(self.tiles[index]):
                self.done([index])
            else:
                heapq.heappush(self.ready, number)

    def _lock(self, number: int) -> bool:
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # no locks on this file system: see above
            return True
        return True

    def _unlock(self, number: int) -> None:
        with suppress(OSError):
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, number)
