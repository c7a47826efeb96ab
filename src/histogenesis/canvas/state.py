"""The state of a level in progress, where it fits: on the device, in memory, or in files; and its way to the disk and back.

Several processes that draw one canvas have it in files, which they all map.

On the device and in memory each plane is there once: a tile's core is written where it was read. Tiles at the canvas's border
see px that others decide; these windows are set aside when a round begins, so that the order of tiles changes nothing.
Checkpoints, at intervals of time, go to two sets of files in turn. In files every plane is there twice, memory-mapped: a round
reads one and writes the other, so that what was cut off can simply be drawn again; their checksums lie beside them (proofs.py).

How far the drawing is says a journal (journal.py).
"""

from __future__ import annotations

import math
import os
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from histogenesis.canvas.journal import Journal
from histogenesis.canvas.proofs import Proofs, Stated, Unusable
from histogenesis.canvas.share import Share
from histogenesis.canvas.staging import Staging
from histogenesis.canvas.tiling import Tile
from histogenesis.core.errors import BadInput

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SAVING_SHARE = 0.05  # of the time, at most, goes into checkpoints
Window = tuple[slice, slice]


class State:
    """Planes of (channels, H, W) px, and `single` ones, which last for one round. `crossed`: bytes between state and device."""

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, int, int],
        digest: str,
        planes: Sequence[str] = ("x",),
        single: Sequence[str] = (),
        place: str = "host",
        dtype: str = "fp32",
        device: str = "cpu",
        share: Share | None = None,
    ):
        self.folder, self.shape, self.journal = folder, shape, Journal(folder, digest)
        self.names, self.single = [*planes, *single], set(single)
        self.place, self.dtype, self.device = place, DTYPES[dtype], torch.device(device)
        self.share = share or Share()
        self.round, self.batch, self.set, self.crossed = 0, 0, 0, 0
        self.aside: dict[tuple[int, int], Tensor] = {}
        self.proofs, self.proven = Proofs(folder, self.names, self.share.rank), Stated()
        self.thread: threading.Thread | None = None
        self.staging = Staging(self.device if place != "device" else torch.device("cpu"))
        self.saved, self.took = time.monotonic(), 0.0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.share.rank:
                self.share.wait()  # for the first one, which makes the files
            if not self._go_on(planes):
                self._make_planes(planes, begun=False)
            if not self.share.rank:
                self.share.wait()
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise BadInput(
                f"{folder}: the drawing state cannot be used ({error.strerror}); repair or delete it"
            ) from None

    def _go_on(self, planes: Sequence[str]) -> bool:
        """Take up the last state that is whole. One that is not, or is another drawing's, is passed over, and that is said."""
        passed_over = False
        for path in self.journal.paths:
            try:
                if path.exists():
                    journal = self._read_journal(path)
                    self._make_planes(planes, begun=True)
                    if self.place != "files":
                        self._load(journal)
                    elif not self.share.rank:  # for all of them
                        self._compare(journal)
                    return True
            except Unusable as why:
                print(f"{path}: {why}", flush=True)
                path.unlink(missing_ok=True)  # or it would take the place of the one before with the next one
                passed_over = True
        if passed_over:
            print(f"{self.folder}: no state is whole; this level is drawn from the start", flush=True)
            for path in (path for path in self.folder.iterdir() if path.is_file()):
                path.unlink()
        self.round, self.batch = 0, 0
        return False

    def _make_planes(self, planes: Sequence[str], begun: bool) -> None:
        if self.place == "files":
            one = {name: self._map(name, 0, begun) for name in self.names}
            two = {name: self._map(name, 1, begun) for name in planes}
            self.maps = [one, one | two]
            self.pairs = [{name: self._tensor(of[name]) for name in self.names} for of in self.maps]
        else:
            self.pairs = [{name: self._empty() for name in self.names}] * 2

    def _empty(self) -> Tensor:
        """A plane. In memory what is never drawn, the background, takes no room: pages are given when they are written."""
        if self.place == "device":
            return torch.zeros(self.shape, dtype=self.dtype, device=self.device)
        return self._tensor(np.zeros(math.prod(self.shape) * self.dtype.itemsize, np.uint8))

    # ------------------------------------------------------------------ planes

    def before(self, name: str) -> Tensor:
        """The plane that the current round reads; after the last one, the result."""
        return self.pairs[self.round % 2][name]

    def after(self, name: str) -> Tensor:
        """The plane that the current round writes."""
        return self.pairs[(self.round + 1) % 2][name]

    def begin(self, tiles: Sequence[Tile]) -> None:
        """The current round begins: set aside what its tiles see of px that others write."""
        if self.place != "files" and not self.batch and self.round:
            border = [tile for tile in tiles if tile.core != tile.window]
            self.aside = {(t.y, t.x): self.before("x")[(slice(None), *t.window)].clone() for t in border}

    def end(self) -> None:
        """The current round is drawn. In files this is noted before the next one overwrites what this one has read."""
        self.staging.settle()
        if self.place == "files":
            self.proofs.note(self.pairs[(self.round + 1) % 2], self.round)
        self.share.wait()
        if self.place == "files" and not self.share.rank:
            self.proven = self.proofs.stated(self.round, range(self.share.count))
        self.round, self.batch, self.aside = self.round + 1, 0, {}
        if self.place == "files":
            self.save()
        self.share.wait()

    def x(self, tiles: Sequence[Tile]) -> Tensor:
        """The windows of tiles before the current round: float32 (B, C, h, w) on the device, until the next call."""
        plane = self.before("x")
        views = [self.aside.get((t.y, t.x), plane[(slice(None), *t.window)]) for t in tiles]
        if self.place == "device" and self.device.type != "cpu":
            return torch.stack(views).float()
        found = self.staging.gather(views)
        if self.place != "device":
            self.crossed += found.numel() * found.element_size()
        return found

    def read(self, name: str, windows: Sequence[Window]) -> Tensor:
        """Windows of one size of a plane before the current round: float32 (B, C, h, w) on the device; not to be written to."""
        views = [self.before(name)[(slice(None), *window)] for window in windows]
        return self._to_device(views[0][None] if len(views) == 1 else torch.stack(views))

    def write(self, name: str, windows: Sequence[Window], values: Sequence[Tensor]) -> None:
        """Windows of a plane after the current round; values (C, h, w) on the device."""
        if self.place == "files":
            self.proofs.wrote(name, windows)
        for window, value in zip(windows, values):
            if self.place != "device":
                self.crossed += value.numel() * self.dtype.itemsize
            self.staging.put(value, self.after(name)[(slice(None), *window)])

    def _to_device(self, values: Tensor) -> Tensor:
        if self.place != "device":
            self.crossed += values.numel() * values.element_size()
        return values.to(self.device).float()

    def leave_device(self) -> None:
        """Go on in memory: the device has no room for state and network both."""
        self.pairs = [{name: plane.cpu() for name, plane in self.pairs[0].items()}] * 2
        self.aside = {key: window.cpu() for key, window in self.aside.items()}
        self.place, self.staging = "host", Staging(self.device)

    # ------------------------------------------------------------------ the disk

    def due(self, every_s: float) -> bool:
        """Whether to save: after `every_s`, or later where saving would take more than a small share of the time."""
        return time.monotonic() - self.saved > max(every_s, self.took / SAVING_SHARE)

    def save(self, names: Sequence[str] | None = None) -> None:
        """Note that the current round is drawn up to its `batch`-th batch. From a device the files are written meanwhile.

        names: the planes that are still needed; default: all.
        """
        began = time.monotonic()
        self.wait()
        self.staging.settle()
        if self.place == "files":
            for plane in (plane for of in self.maps for plane in of.values()):
                plane.flush()
            now = Stated()
            if self.batch:
                self.proofs.note(self.pairs[(self.round + 1) % 2], self.round)
                now = self.proofs.stated(self.round, [self.share.rank])
            if not self.share.rank:
                self.journal.write(self._at() | {"proven": self.proven, "now": now})
        else:
            self.set = 1 - self.set
            border = {"aside": torch.stack(list(self.aside.values()))} if self.aside else {}
            needed = {name: self.pairs[0][name] for name in names or self.names}
            planes, at = needed | border, self._at() | {"set": self.set, "aside": list(self.aside)}
            if self.place == "device":
                planes = {name: plane.to("cpu", copy=True) for name, plane in planes.items()}
                self.thread = threading.Thread(target=self._write_planes, args=(planes, at))
                self.thread.start()
            else:
                self._write_planes(planes, at)
        self.saved = time.monotonic()
        self.took = self.saved - began

    def wait(self) -> None:
        """Until the last checkpoint is on the disk."""
        if self.thread:
            self.thread.join()
            self.thread = None

    def _at(self) -> dict:
        batch = self.batch if self.share.count == 1 else 0  # of several processes each has got as far as it has
        return {"round": self.round, "batch": batch, "place": self.place}

    def _write_planes(self, planes: dict[str, Tensor], at: dict) -> None:
        checksums = dict.fromkeys(planes, 0)
        for name, plane in planes.items():
            path = self.folder / f"{name}.{at['set']}"
            try:
                with open(path, "wb") as file:
                    for part in plane:
                        octets = part.contiguous().view(torch.uint8).numpy()
                        checksums[name] = zlib.crc32(octets, checksums[name])
                        octets.tofile(file)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                path.unlink(missing_ok=True)
                raise BadInput(self._full(error, 2 * len(planes))) from None
        self.journal.write(at | {"checksums": checksums})

    def _read_journal(self, path: Path) -> dict:
        journal = self.journal.read(path)
        self.round = journal["round"]
        self.batch = journal["batch"] if self.share.count == 1 else 0  # they have each a band of the round's tiles
        if journal["place"] != "files" and self.place == "files":
            raise BadInput(
                f"{path}: this drawing was begun with its state in memory; go on with as much memory as then, or delete"
                f" {self.folder} to draw this level anew"
            )
        return journal

    def _load(self, journal: dict) -> None:
        self.set = journal["set"]
        size = self.pairs[0]["x"][0].numel() * self.dtype.itemsize * self.shape[0]
        for name in journal["checksums"].keys() - {"aside"}:
            octets = self._from_file(name, size, journal["checksums"][name])
            self.pairs[0][name].copy_(octets.view(self.dtype).reshape(self.shape))
        if journal["aside"]:
            raw = self._from_file("aside", None, journal["checksums"]["aside"]).view(self.dtype)
            windows = raw.reshape(len(journal["aside"]), self.shape[0], -1)
            side = round(windows.shape[2] ** 0.5)
            windows = windows.reshape(*windows.shape[:2], side, side).to(self.pairs[0]["x"].device)
            self.aside = {tuple(key): one for key, one in zip(journal["aside"], windows)}

    def _compare(self, journal: dict) -> None:
        """The planes that the current round reads, and what it has written; where only that is damaged, it begins anew."""
        lasting = set(self.names) - self.single
        self.proofs.compare(journal["proven"], {name: self.before(name) for name in lasting})
        self.proven = journal["proven"]
        if not self.batch:
            return
        try:
            self.proofs.compare(journal["now"], self.pairs[(self.round + 1) % 2])
            self.proofs.go_on(self.round, journal["now"])
        except Unusable as why:
            print(f"{self.folder}: {why}; pass {self.round + 1} is drawn again", flush=True)
            self.batch = 0

    def _from_file(self, name: str, size: int | None, stated: int) -> Tensor:
        path = self.folder / f"{name}.{self.set}"
        if not path.exists() or size not in (None, path.stat().st_size):
            raise Unusable(f"{path.name} is missing or cut off")
        octets = np.fromfile(path, np.uint8)
        if zlib.crc32(octets.data) != stated:
            raise Unusable(f"{path.name} differs from its checksum")
        return torch.from_numpy(octets)

    def _map(self, name: str, number: int, begun: bool) -> np.memmap:
        path, size = self.folder / f"{name}.{number}", math.prod(self.shape) * self.dtype.itemsize
        if not path.exists() or path.stat().st_size != size:
            if begun:
                raise Unusable(f"{path.name} is missing or cut off")
            try:
                with open(path, "wb") as file:  # all blocks now: a full disk fails here, and not by SIGBUS later
                    os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                path.unlink(missing_ok=True)
                raise BadInput(self._full(error, 2 * len(self.names))) from None
        return np.memmap(path, np.uint8, "r+", shape=(size,))

    def _tensor(self, plane: np.ndarray) -> Tensor:
        return torch.from_numpy(plane).view(self.dtype).reshape(self.shape)

    def _full(self, error: OSError, count: int) -> str:
        size = count * math.prod(self.shape) * self.dtype.itemsize
        return (
            f"{self.folder}: {error.strerror}; drawing this level needs {size / 1e9:.2f} GB there. Free some space, or put"
            " the run's state folder on a larger disk"
        )
