"""Pixels of the stores of a patch set, at random and by several threads at once, past HDF5's one lock.

A store keeps each patch as one raw chunk with its checksum, so that its place in the file can be looked up once and its bytes
be read by the operating system: threads then read side by side, and of a crop only its own rows are read, from the second
time on (the first time all of the patch is, and compared with its checksum). Where patches are kept as JPEG, or a file was
written by another program in another layout, they are read as HDF5 reads them.
"""

from __future__ import annotations

import io
import os
import resource
import threading
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from histogenesis.core.hdf5 import CHUNKED, EMPTY, SEAL, fletcher32, reading, writing
from histogenesis.core.whole import found_damaged

SPARE_FILES = 256  # that a process may open besides
JPEG, ENDS = (
    "_jpeg",
    "_jpeg_ends",
)  # datasets of `imgs` or `context` kept as JPEG: the bytes, and where each patch's end


@dataclass(frozen=True)
class Raw:
    """Patches that lie raw in a file. begins: the byte of the file, int64 (n); proven: what needs no look at its checksum any
    more, or has none, bool (n)."""

    begins: np.ndarray
    proven: np.ndarray


class PixelReader:
    """Reads patches of the stores `paths` (uint8, p x p x 3). Safe in threads; not across a fork."""

    def __init__(self, paths: list[Path], patch_px: int):
        self.paths, self.patch_px = paths, patch_px
        self.lock, self.hdf5 = threading.Lock(), threading.Lock()
        self.handles: dict[int, int] = {}
        self.offsets: dict[tuple[int, str], Raw | None] = {}
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = len(paths) + SPARE_FILES
        if soft < wanted:
            soft = min(wanted, hard) if hard != resource.RLIM_INFINITY else wanted
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.open_files = max(1, soft - SPARE_FILES)

    def read(self, what: str, file: int, row: int, out_hwc: np.ndarray, y: int = 0, x: int = 0) -> None:
        """Read a patch of `what` (imgs, context) of a file, or the window of out's size at (y, x) of it, into `out`."""
        raw = self._offsets(file, what)
        height, width = out_hwc.shape[:2]
        if raw is None:
            out_hwc[:] = self._by_hdf5(what, file, row)[y : y + height, x : x + width]
            return
        if not raw.proven[row]:  # the first time the whole patch is read, and then never again
            out_hwc[:] = self._proven(file, row, raw)[y : y + height, x : x + width]
            return
        line = self.patch_px * 3
        rows = out_hwc if width == self.patch_px and out_hwc.flags.c_contiguous else np.empty((height, line), np.uint8)
        self._pread(file, rows.reshape(-1), int(raw.begins[row]) + y * line)
        if rows is not out_hwc:
            out_hwc[:] = rows.reshape(height, self.patch_px, 3)[:, x : x + width]

    def _proven(self, file: int, row: int, raw: Raw) -> np.ndarray:
        """A whole patch, compared with its checksum. uint8 (p, p, 3)"""
        octets = np.empty(self.patch_px**2 * 3 + 4, np.uint8)
        self._pread(file, octets, int(raw.begins[row]))
        if octets[-4:].tobytes() != fletcher32(octets[:-4]):
            found_damaged(self.paths[file], f"patch {row} differs from its checksum")
        raw.proven[row] = True
        return octets[:-4].reshape(self.patch_px, self.patch_px, 3)

    def close(self) -> None:
        with self.lock:
            for handle in self.handles.values():
                os.close(handle)
            self.handles.clear()

    def _pread(self, file: int, into: np.ndarray, offset: int) -> None:
        handle = self.handles.get(file)
        own = None
        if handle is None:
            handle = own = os.open(self.paths[file], os.O_RDONLY)
            with self.lock:
                if file not in self.handles and len(self.handles) < self.open_files:
                    self.handles[file], own = handle, None
        try:
            done, view = 0, into.data
            while done < len(into):
                count = os.preadv(handle, [view[done:]], offset + done)
                if not count:
                    found_damaged(self.paths[file], "it ends before its patches do")
                done += count
        finally:
            if own is not None:
                os.close(own)

    def _offsets(self, file: int, what: str) -> Raw | None:
        """Where each patch's bytes lie; None where they do not lie there raw."""
        key = file, what
        if key not in self.offsets:
            with self.hdf5, reading(self.paths[file]) as store:
                self.offsets[key] = raw_patches(store[what]) if what in store else None
        return self.offsets[key]

    def _by_hdf5(self, what: str, file: int, row: int) -> np.ndarray:
        with self.hdf5, reading(self.paths[file]) as store:
            if what in store:
                return store[what][row]
            first, last = (int(store[what + ENDS][row - 1]) if row else 0), int(store[what + ENDS][row])
            packed = store[what + JPEG][first:last].tobytes()
        return np.asarray(Image.open(io.BytesIO(packed)))


def raw_patches(patches: h5py.Dataset) -> Raw | None:
    """Where patches (n, p, p, 3) begin; None where they are not one raw chunk each."""
    raw = patches.chunks == (1, *patches.shape[1:]) and not patches.compression and not patches.shuffle
    if not raw or patches.dtype != np.uint8:
        return None
    found = np.full(len(patches), -1, np.int64)

    def note(chunk) -> None:
        found[chunk.chunk_offset[0]] = chunk.byte_offset

    patches.id.chunk_iter(note)
    return Raw(found, np.full(len(found), not patches.fletcher32)) if (found >= 0).all() else None


def pack_store(path: Path, quality: int) -> None:
    """Keep a finished store's patches as JPEG, about a sixth of the bytes; the file is written anew, then renamed.

    The patches' own digest then says the quality too, as what is read is no longer what was cut.
    """
    with reading(path) as raw, writing(path) as file:
        for name in raw:
            if name in ("imgs", "context"):
                _pack(raw[name], file, name, quality)
            else:
                raw.copy(name, file)
        file.attrs.update({key: value for key, value in raw.attrs.items() if key != SEAL})
        file.attrs["imgs_sha256"] = f"{raw.attrs['imgs_sha256']}:jpeg-{quality}"


def _pack(pictures: h5py.Dataset, file: h5py.File, name: str, quality: int) -> None:
    chunk = min(1 << 20, max(1024, pictures[0].nbytes if len(pictures) else 0))
    data = file.create_dataset(name + JPEG, (0,), np.uint8, maxshape=(None,), chunks=(chunk,), **CHUNKED)
    ends: list[int] = []
    for picture in pictures:
        packed = np.frombuffer(encoded(picture, quality), np.uint8)
        ends.append((ends[-1] if ends else 0) + len(packed))
        data.resize(ends[-1], axis=0)
        data[ends[-1] - len(packed) :] = packed
    file.create_dataset(name + ENDS, data=np.array(ends, np.int64), **(CHUNKED if ends else EMPTY))
    data.attrs.update(pictures.attrs)


def encoded(picture_hwc: np.ndarray, quality: int) -> bytes:
    """A patch as JPEG, its colours at full resolution."""
    stream = io.BytesIO()
    Image.fromarray(picture_hwc).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
