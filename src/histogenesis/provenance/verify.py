"""Whether a crate is what it was when it was written: every file against its checksum. No GPU, no library but tqdm."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from tqdm import tqdm

from histogenesis.core.errors import BadInput

METADATA_FILE = "ro-crate-metadata.json"
# What Snakemake and Python leave in a folder that was unpacked and used.
LEFT_BEHIND = (
    ".snakemake/",
    ".histogenesis/",
    "/__pycache__/",
    "/logs/",
    "/benchmarks/",
    "/state/",
    "/made_by.txt",
    ".pyc",
)


def verify(crate: Path) -> tuple[list[str], str]:
    """What is wrong, one line a file (`differs: name`, `missing: ...`, `extra: ...`), and the sha256 of the metadata.

    `crate` is a zip, or the folder it was unpacked to. The metadata vouches for all files; its own sha256, which `share`
    printed, vouches for it. Raises BadInput for what is no crate.
    """
    crate = Path(crate)
    if crate.is_dir():
        return _verify(Folder(crate), crate)
    if not zipfile.is_zipfile(crate):
        raise BadInput(f"{crate}: neither a folder nor a whole zip file; copy it again")
    with zipfile.ZipFile(crate) as file:
        return _verify(Zip(file), crate)


class Folder:
    def __init__(self, folder: Path):
        self.folder = folder

    def names(self) -> set[str]:
        found = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return {name for name in found if not any(part in f"/{name}" for part in LEFT_BEHIND)}

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def open(self, name: str) -> IO[bytes]:
        return open(self.folder / name, "rb")


class Zip:
    def __init__(self, file: zipfile.ZipFile):
        self.file, self.known = file, {info.filename for info in file.infolist() if not info.is_dir()}

    def names(self) -> set[str]:
        return self.known

    def has(self, name: str) -> bool:
        return name in self.known

    def open(self, name: str) -> IO[bytes]:
        return self.file.open(name)


def _verify(crate: Folder | Zip, where: Path) -> tuple[list[str], str]:
    if not crate.has(METADATA_FILE):
        raise BadInput(f"{where}: holds no {METADATA_FILE}, so it is not a crate, or not the top folder of one")
    with crate.open(METADATA_FILE) as file:
        metadata = file.read()
    try:
        entities = {entity["@id"]: entity for entity in json.loads(metadata)["@graph"]}
        listed = [entities[part["@id"]] for part in entities["./"]["hasPart"]]
        expected = {unquote(entity["@id"]): entity["sha256"] for entity in listed}
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{where}: its {METADATA_FILE} cannot be read ({error!r}); copy the crate again") from None
    wrong = []
    for name, digest in tqdm(sorted(expected.items()), desc=where.name, unit=" files", disable=None):
        if not crate.has(name):
            wrong.append(f"missing: {name}")
        elif _digest(crate, name) != digest:
            wrong.append(f"differs: {name}")
    wrong += [f"extra: {name}" for name in sorted(crate.names() - set(expected) - {METADATA_FILE})]
    return wrong, hashlib.sha256(metadata).hexdigest()


def _digest(crate: Folder | Zip, name: str) -> str | None:
    try:
        with crate.open(name) as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 22):
                digest.update(block)
    except zipfile.BadZipFile:  # the zip's own checksum fails: it differs
        return None
    return digest.hexdigest()
