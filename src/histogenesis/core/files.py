"""Files that appear whole or not at all, and locks that outlive nobody: the one place for both.

A file is written under a name of its own beside its place, flushed to the disk, given the mode that the umask says (some
libraries write for their owner alone), and renamed. Whatever stops the writer leaves the old file, or none.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

_held: list[IO] = []  # open, and so locked, until the process ends


@contextmanager
def written(path: str | Path) -> Iterator[Path]:
    """The name under which to write `path`: with the block's end the file takes its place, and with an error it is gone.

    The name ends as `path` does, so that libraries that go by it write the right kind. Folders on the way are made. Raises
    OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part{os.getpid()}.{path.name}")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o666 & ~umask())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def move(path: str | Path, to: str | Path) -> None:
    """Give a file another name in its folder; what had that name is gone."""
    os.replace(path, to)


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """UTF-8, whole or not at all."""
    with written(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, **options: Any) -> None:
    """JSON with an end of line. options: of json.dumps; one value a line unless they say otherwise."""
    write_text(path, json.dumps(value, **{"indent": 1, **options}) + "\n")


def read_json(path: str | Path) -> Any:
    """What a file of state holds that can be worked out again: None where there is none or, said aloud, it is damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        print(f"{path}: damaged; what it said is worked out again", file=sys.stderr, flush=True)
        return None


def write_rows(path: str | Path, columns: list[str] | tuple[str, ...], rows: Any, delimiter: str = ",") -> None:
    """A table: its columns' names, then dicts by them."""
    with written(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, delimiter=delimiter, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def lock(path: str | Path, who: str = "") -> bool:
    """Have a lock until this process ends, however it ends; False where another process has it (`holder` says who).

    The lock is the kernel's, so a killed process leaves none behind. It holds between nodes where the file system has such
    locks (NFS 4, Lustre with -o flock, GPFS). Raises OSError where it has none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    except OSError:
        file.close()
        raise
    file.truncate(0)
    file.write((who or f"process {os.getpid()} on {socket.gethostname()}") + "\n")
    file.flush()
    _held.append(file)
    return True


def holder(path: str | Path) -> str:
    """Who has a lock, in words."""
    try:
        return Path(path).read_text().strip() or "another process"
    except OSError:
        return "another process"


def sha256_of(path: str | Path) -> str:
    """Digest of a whole file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
