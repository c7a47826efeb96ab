"""Arrays of a work in progress, a file each: .npy with a checksum at its end."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np

from histogenesis.core.files import written


class Broken(ValueError):
    """An array that is not what was written."""


def save_proven(path: Path, array: np.ndarray) -> None:
    """Whole or not at all."""
    stream = io.BytesIO()
    np.save(stream, array)
    with written(path) as part:
        part.write_bytes(stream.getvalue() + zlib.crc32(stream.getbuffer()).to_bytes(4, "little"))


def load_proven(path: Path) -> np.ndarray:
    """Raises Broken, FileNotFoundError."""
    octets = path.read_bytes()
    if len(octets) < 5 or zlib.crc32(octets[:-4]).to_bytes(4, "little") != octets[-4:]:
        raise Broken(f"{path}: damaged")
    return np.load(io.BytesIO(octets[:-4]), allow_pickle=False)
