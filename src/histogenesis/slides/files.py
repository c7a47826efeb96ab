"""All files that make one slide: DICOM and MIRAX keep one in many, and a change of any is a change of the slide."""

from __future__ import annotations

import configparser
import hashlib
import struct
from functools import cache
from pathlib import Path

HEAD_BYTES = 2**16  # of a DICOM file, in which its series stands
# No DICOM by their names, and so not read.
NO_DICOM = {
    ".svs",
    ".tif",
    ".tiff",
    ".btf",
    ".ndpi",
    ".scn",
    ".bif",
    ".svslide",
    ".jpg",
    ".png",
    ".webp",
}
SERIES = b"\x20\x00\x0e\x00UI"  # tag (0020,000E), SeriesInstanceUID, explicit little endian


def files_of_slide(path: str | Path) -> list[Path]:
    """The files of a slide, the named one first, the others by name. A file that is not there stands for itself alone.

    MIRAX: all in the folder of the same name. DICOM: those of the folder that belong to the same series. Hamamatsu VMS: the
    pictures that the index names. OSError where they cannot be listed.
    """
    path = Path(path)
    if not path.is_file():
        return [path]
    kind = path.suffix.lower()
    if kind == ".mrxs":
        folder = path.with_suffix("")
        return [path, *sorted(file for file in folder.rglob("*") if file.is_file())] if folder.is_dir() else [path]
    if kind in (".vms", ".vmu"):
        return [path, *_named_in(path)]
    series = series_of(path)
    if series is None:
        return [path]
    return [path, *sorted(file for file in path.parent.iterdir() if file != path and series_of(file) == series)]


def series_of(path: Path) -> bytes | None:
    """The series that a DICOM file belongs to; None for what is no DICOM file. Each file is read once in a process."""
    if path.suffix.lower() in NO_DICOM or not path.is_file():
        return None
    stat = path.stat()
    return _series_of(path, stat.st_size, stat.st_mtime_ns)


@cache
def _series_of(path: Path, size: int, mtime_ns: int) -> bytes | None:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    at = head.find(SERIES)
    if head[128:132] != b"DICM" or at < 0:
        return None
    (length,) = struct.unpack("<H", head[at + 6 : at + 8])
    return head[at + 8 : at + 8 + length].rstrip(b"\0 ")


def digest_of_files(paths: list[Path], sha256_of) -> str:
    """One sha256 of a slide: its file's own, or, of several, that of their names and digests."""
    if len(paths) == 1:
        return sha256_of(paths[0])
    lines = [f"{sha256_of(path)}  {path.name}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _named_in(index: Path) -> list[Path]:
    """Files beside a VMS index that it names."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(index.read_text(errors="replace"))
    except configparser.Error:
        return []
    names = {value.strip() for section in parser.values() for value in section.values()}
    return sorted(file for file in index.parent.iterdir() if file.name in names and file != index)
