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

from histogenesis.canvas.tiling import Place, Tile
from histogenesis.canvas.waves import neighbours


class Queue:
    """Tiles in the order of their waves; finished(tile): whether somebody has drawn it, or nobody draws it."""

    def __init__(self, waves: list[dict[Place, Tile]], finished: Callable[[Tile], bool], file: Path):
        self.tiles = {place: tile for wave in waves for place, tile in wave.items()}
        self.places, self.finished, self.file = list(self.tiles), finished, open(file, "a+b")  # noqa: SIM115
        self.number = {place: n for n, place in enumerate(self.places)}
        wave_of = {place: n for n, wave in enumerate(waves) for place in wave}
        self.left = {place for place in self.places if not finished(self.tiles[place])}
        self.waits: dict[Place, set[Place]] = {}
        self.wanted_by: dict[Place, list[Place]] = defaultdict(list)
        for place in self.left:
            before = [other for other in neighbours(place) if wave_of.get(other, len(waves)) < wave_of[place]]
            self.waits[place] = {other for other in before if other in self.left}
            for other in self.waits[place]:
                self.wanted_by[other].append(place)
        self.ready = [self.number[place] for place in self.left if not self.waits[place]]
        self.elsewhere: list[int] = []
        heapq.heapify(self.ready)

    def __len__(self) -> int:
        """How many are not finished."""
        return len(self.left)

    def claim(self, count: int) -> list[Place]:
        """Up to `count` tiles that are ready and that nobody else is drawing; none where all others wait for those."""
        found: list[Place] = []
        self._look_elsewhere()
        while self.ready and len(found) < count:
            number = heapq.heappop(self.ready)
            place = self.places[number]
            if not self._lock(number):
                self.elsewhere.append(number)
            elif self.finished(self.tiles[place]):
                self.done([place])
            else:
                found.append(place)
        return found

    def done(self, places: list[Place]) -> None:
        """These are finished, and let go."""
        for place in places:
            self.left.discard(place)
            for other in self.wanted_by.pop(place, ()):
                self.waits[other].discard(place)
                if not self.waits[other]:
                    heapq.heappush(self.ready, self.number[other])
            self._unlock(self.number[place])

    def _look_elsewhere(self) -> None:
        """Tiles that another process had: finished by now, or to be tried again."""
        numbers, self.elsewhere = self.elsewhere, []
        for number in numbers:
            place = self.places[number]
            if self.finished(self.tiles[place]):
                self.done([place])
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
