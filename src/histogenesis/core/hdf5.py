"""HDF5 files that show damage: written with a checksum for every chunk, read so that damage is one line.

Chunks carry fletcher32, and HDF5 1.10's format has checksums of its own for what leads to them. What neither covers are
attributes that are texts: a digest of all attributes is written as one more, and compared when a file is opened. A file without
one, of another program or an older version, is read as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from histogenesis.core.files import written
from histogenesis.core.whole import found_damaged

FORMAT = ("v110", "v110")  # readable from HDF5 1.10 (2016) on
CHUNKED: dict[str, Any] = {"fletcher32": True, "track_times": False}
EMPTY: dict[str, Any] = {"track_times": False}  # of a data set without a row, which has no chunk
SEAL = "attributes_sha256"


@contextmanager
def writing(path: str | Path) -> Iterator[h5py.File]:
    """A new file, which is sealed and takes its name with the block's end. Raises OSError."""
    with written(path) as part, h5py.File(part, "w", libver=FORMAT) as file:
        yield file
        file.attrs[SEAL] = attributes_digest(file)


@contextmanager
def reading(path: str | Path, **options: Any) -> Iterator[h5py.File]:
    """A file to read. Raises Damaged for one that is not what was written, FileNotFoundError, and OSError for what may pass."""
    with naming_damage(path):
        with h5py.File(path, "r", **options) as file:
            check_seal(file)
            yield file


@contextmanager
def naming_damage(path: str | Path) -> Iterator[None]:
    """Errors of h5py within the block, but those of the file system, become Damaged."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, UnicodeDecodeError) as error:
        from_hdf5 = "h5py" in type(error).__module__ or any(word in str(error) for word in WORDS)
        if isinstance(error, FileNotFoundError | PermissionError) or "errno = " in str(error) or not from_hdf5:
            raise
        found_damaged(path, f"HDF5 says {reason(error)}")


WORDS = ("nable to", "an't ", "filter returned", "truncated file", "signature", "checksum", "doesn't exist", "seal")


def reason(error: Exception) -> str:
    """The innermost words of an error of HDF5."""
    text = str(error).strip("'\"")
    return text[text.find("(") + 1 : text.rfind(")")] if "(" in text else text


class Checked(h5py.File):
    """A file to read, for who opens several at once: in a `with`, an error of HDF5 that is of this file becomes Damaged."""

    def __init__(self, path: str | Path, **options: Any):
        with naming_damage(path):
            super().__init__(path, "r", **options)
            check_seal(self)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        path, wrong = self.filename, None
        if isinstance(error, OSError | RuntimeError) and any(word in str(error) for word in WORDS):
            wrong = what_differs(self)
        super().__exit__(kind, error, trace)
        if wrong:
            found_damaged(path, wrong)


def what_differs(file: h5py.File) -> str | None:
    """Read all of an open file, chunk by chunk; what does not agree with its checksum, in words, or None."""
    for name in sorted(file):
        data = file[name]
        if not isinstance(data, h5py.Dataset) or data.chunks is None:
            continue
        for place in data.iter_chunks():
            try:
                data[place]
            except (OSError, RuntimeError):
                return f"{name} differs from its checksum at {tuple(part.start for part in place)}"
    return None


class BrokenSeal(OSError):
    """Attributes are not those that were written."""


def check_seal(file: h5py.File) -> None:
    """Raises BrokenSeal."""
    stated = file.attrs.get(SEAL)
    if stated is not None and stated != attributes_digest(file):
        raise BrokenSeal("the seal of its attributes is broken")


def attributes_digest(file: h5py.File) -> str:
    """sha256 of all attributes of a file and of its data sets, hexadecimal."""
    digest = hashlib.sha256()
    for name in ["/", *sorted(file)]:
        attributes = file[name].attrs
        for key in sorted(attributes):
            if (name, key) != ("/", SEAL):
                value = np.asarray(attributes[key])
                kind = "text" if value.dtype.kind in "OSU" else value.dtype.str
                digest.update(f"{name}\0{key}\0{kind}\0{value.shape}\0{value.tolist()!r}\n".encode())
    return digest.hexdigest()


_BLOCK, _ROW = 1 << 16, 512  # words: a block and its sums stay in a processor's cache, and below 2^32
_PLACES = np.arange(_ROW, dtype=np.uint64)


def fletcher32(data: bytes | np.ndarray) -> bytes:
    """The checksum that HDF5 appends to a chunk: 4 bytes. For chunks that are written and read past HDF5.

    One sum of all 16-bit words, and one of each word times how many are left from it on; the places of words follow from sums
    of rows and of columns. Words have their upper byte first: 256 times what they are the other way round, modulo 65535.
    """
    octets = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
    odd = octets[-1:] if len(octets) % 2 else octets[:0]
    words = octets[: len(octets) - len(odd)].view("<u2")
    one = two = 0
    for start in range(0, len(words), _BLOCK):
        part = words[start : start + _BLOCK].astype(np.uint32)
        count = len(part)
        part.resize((-(-count // _ROW), _ROW), refcheck=False)  # filled up with zeros
        rows, columns = (part.sum(axis, dtype=np.uint32) for axis in (1, 0))
        total = int(rows.sum())
        places = _ROW * int(rows @ _PLACES[: len(rows)]) + int(columns @ _PLACES)
        two += (one + total) * count - places
        one += total
    if len(odd):
        one += int(odd[0])
        two += one
    return (_folded(256 * two) << 16 | _folded(256 * one)).to_bytes(4, "little")


def _folded(total: int) -> int:
    """Modulo 65535, with 65535 for a multiple of it that is not zero: as sums are that are folded, not divided."""
    return total and (total % 0xFFFF or 0xFFFF)
