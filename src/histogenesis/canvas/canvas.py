"""The canvas: the pixels of one level, while they are drawn (memory-mapped planes) and afterwards (level{k}.h5)."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np

from histogenesis.canvas.tiling import Drawn
from histogenesis.core.errors import BadInput
from histogenesis.recipe import AnyLevel

BAND_PX = 256


class Planes:
    """The state of a level in progress: float32 (channels, H, W) buffers in a folder, memory-mapped, double-buffered by stage.

    A stage reads one buffer and writes the other, so that a stage that was cut off can simply draw its unfinished tiles
    again. Planes named in `single` hold what lasts for one stage only. `journal.json` says how far the drawing is; it is
    written after the pixels it speaks of are on the disk.
    """

    def __init__(
        self,
        folder: Path,
        height: int,
        width: int,
        digest: str,
        with_memory: bool,
        single: Sequence[str] = (),
        channels: int = 3,
    ):
        self.folder, self.digest = folder, digest
        self.stage, self.batch = 0, 0
        shape = (channels, height, width)
        names = ["x.0", "x.1", *(["memory.0", "memory.1"] if with_memory else []), *single]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._read_journal()
            self.maps = {name: self._map(name, shape, len(names)) for name in names}
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise BadInput(
                f"{folder}: the drawing state cannot be used ({error.strerror}); repair or delete it"
            ) from None

    def _read_journal(self) -> None:
        path = self.folder / "journal.json"
        if not path.exists():
            return
        try:
            journal = json.loads(path.read_text())
            digest, self.stage, self.batch = journal["digest"], int(journal["stage"]), int(journal["batch"])
        except (ValueError, KeyError, TypeError):
            raise BadInput(f"{path}: broken journal; delete {self.folder} to draw this level from the start") from None
        if digest != self.digest:
            raise BadInput(f"{path}: the state of another drawing; delete {self.folder} to draw this level anew")

    def _map(self, name: str, shape: tuple[int, int, int], count: int) -> np.memmap:
        path, size = self.folder / name, int(np.prod(shape)) * 4
        if not path.exists() or path.stat().st_size != size:
            if self.stage or self.batch:
                raise BadInput(f"{path}: missing or cut off; delete {self.folder} to draw this level from the start")
            try:
                with open(path, "wb") as file:  # all blocks now: a full disk fails here, and not by SIGBUS later
                    os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                path.unlink(missing_ok=True)
                raise BadInput(
                    f"{self.folder}: {error.strerror}; drawing this level needs {size * count / 1e9:.2f} GB there. Free some"
                    " space, or put the run's state folder on a larger disk"
                ) from None
        return np.memmap(path, np.float32, "r+", shape=shape)

    def before(self, name: str) -> np.ndarray:
        """The buffer that the current stage reads."""
        return self.maps[f"{name}.{self.stage % 2}"]

    def after(self, name: str) -> np.ndarray:
        """The buffer that the current stage writes."""
        return self.maps[f"{name}.{(self.stage + 1) % 2}"]

    def save(self, stage: int, batch: int) -> None:
        """Note that all of `stage`'s batches before `batch` are drawn."""
        for plane in self.maps.values():
            plane.flush()
        self.stage, self.batch = stage, batch
        part = self.folder / "journal.json.part"
        part.write_text(json.dumps({"digest": self.digest, "stage": stage, "batch": batch}))
        os.replace(part, self.folder / "journal.json")


def write_level(path: Path, bands, height: int, width: int, facts: dict) -> None:
    """Write level{k}.h5: `image` (H, W, 3) uint8 in lossless chunks, facts as attributes. `bands` yields (y, uint8 rows)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".h5.part")
    try:
        with h5py.File(part, "w") as file:
            chunks = (min(BAND_PX, height), min(BAND_PX, width), 3)
            image = file.create_dataset(
                "image",
                (height, width, 3),
                np.uint8,
                chunks=chunks,
                compression="lzf",
                shuffle=False,
                track_times=False,
            )
            for y, rows in bands:
                image[y : y + len(rows)] = rows
            file.attrs.update(facts)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(error.errno, f"{path}: could not be written ({error}); is the disk full?") from error
    os.replace(part, path)


class Made(Protocol):
    """What makes a level: a drawing or an upscaling. background: RGB."""

    section: AnyLevel
    size_px: tuple[int, int]
    k: int
    slide: str
    seed: int
    background: tuple[int, int, int]
    drawn: Drawn


def write_made(path: Path, made: Made, bands: Iterable[tuple[int, np.ndarray]], **facts) -> None:
    """write_level, with what every level of a synthetic slide says of itself."""
    common = {
        "mpp": made.section.mpp,
        "level": made.k,
        "slide": made.slide,
        "seed": made.seed,
        "model": made.section.model or "",
        "background": np.array(made.background, np.uint8),
        "drawn": made.drawn.share,
        "synthetic": True,
    }
    write_level(path, bands, *made.size_px, common | facts)


class Level:
    """A finished level, read window by window."""

    def __init__(self, path: Path):
        try:
            self.file = h5py.File(path, "r", rdcc_nbytes=64 << 20)
            self.image, self.facts = self.file["image"], dict(self.file.attrs)
        except FileNotFoundError:
            raise BadInput(f"{path}: no such level; draw it first") from None
        except KeyError:
            raise BadInput(f"{path}: not a level of a synthetic slide (it has no `image`)") from None

    @property
    def mpp(self) -> float:
        return float(self.facts["mpp"])

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape[:2]

    def window(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """uint8 (height, width, 3)."""
        return self.image[y : y + height, x : x + width]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
