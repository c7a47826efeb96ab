"""What proves planes in files whole: the crc32 of every window that was written, in files beside them.

`written.{round % 2}.{rank}` holds what one process has written in a round, six little-endian int64 a window: the plane's
number, the beginning and end of its rows and columns, and the crc32 of its bytes. The journal says how long these files are,
and their own crc32. So planes are compared when a drawing goes on, and none is read whole while it is drawn.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

Window = tuple[slice, slice]
Stated = dict[str, tuple[int, int]]  # of files of proofs: bytes, crc32
FIELDS = 6


class Unusable(Exception):
    """A state that is damaged, or of another drawing: why."""


class Proofs:
    """Those of planes in a folder; `names` in the order of their numbers."""

    def __init__(self, folder: Path, names: list[str], rank: int):
        self.folder, self.names, self.rank = folder, names, rank
        self.round: int | None = None  # whose windows its file holds
        self.waiting: list[tuple[int, Window]] = []

    def wrote(self, name: str, windows: Iterable[Window]) -> None:
        """These windows of a plane will have their final pixels when `note` is called next."""
        number = self.names.index(name)
        self.waiting += [(number, window) for window in windows]

    def note(self, planes: dict[str, Tensor], round: int) -> None:
        """Put down what was written since the last time, in a round; planes (C, H, W), as they are now."""
        rows = [
            [number, y.start, y.stop, x.start, x.stop, crc32_of(planes[self.names[number]][:, y, x])]
            for number, (y, x) in self.waiting
        ]
        with open(self.path(round, self.rank), "ab" if round == self.round else "wb") as file:
            np.array(rows, "<i8").tofile(file)
            file.flush()
            os.fsync(file.fileno())
        self.round, self.waiting = round, []

    def stated(self, round: int, ranks: Iterable[int]) -> Stated:
        """What a journal says of the files of a round."""
        paths = [self.path(round, rank) for rank in ranks]
        return {path.name: (path.stat().st_size, zlib.crc32(path.read_bytes())) for path in paths}

    def compare(self, stated: Stated, planes: dict[str, Tensor]) -> None:
        """Raise Unusable where planes, those that are given, are not what was written."""
        for file, (size, crc32) in stated.items():
            octets = self._read(file)[:size]
            if len(octets) < size or zlib.crc32(octets) != crc32:
                raise Unusable(f"{file} is missing, cut off or differs from its checksum")
            rows = np.frombuffer(octets, "<i8").reshape(-1, FIELDS)
            for number, y, y_end, x, x_end, proof in tqdm(rows, "comparing", unit="window", delay=5, mininterval=2):
                name = self.names[number]
                if name in planes and crc32_of(planes[name][:, y:y_end, x:x_end]) != proof:
                    raise Unusable(f"plane {name}, rows {y} to {y_end}, differs from its checksum")

    def go_on(self, round: int, stated: Stated) -> None:
        """What a round wrote after its journal did will be written again."""
        for file, (size, _) in stated.items():
            os.truncate(self.folder / file, size)
        self.round = round

    def path(self, round: int, rank: int) -> Path:
        return self.folder / f"written.{round % 2}.{rank}"

    def _read(self, file: str) -> bytes:
        try:
            return (self.folder / file).read_bytes()
        except FileNotFoundError:
            return b""


def crc32_of(window: Tensor) -> int:
    return zlib.crc32(window.contiguous().view(torch.uint8).numpy().data)
