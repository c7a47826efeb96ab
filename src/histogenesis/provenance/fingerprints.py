"""Fingerprints of what users bring: cheap enough to plan 20,000 slides with, and the same wherever the file lies.

A fingerprint is a digest of a file's size and of blocks of it, spread evenly from its first byte to its last; a file of up to
1 MiB is read whole. It is remembered by path, size and time of change, a line as soon as it is known, so that planning
that was stopped goes on where it was. The whole file is hashed in a job, when its slide is registered.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from histogenesis.core.files import write_text

BLOCK, BLOCKS = 1 << 16, 16
SHOW_PROGRESS = 500  # files
SETTLED_NS = 2_000_000_000  # a file changed so shortly before it was read may change again within its clock's tick
LENGTH = 16  # hexadecimal digits


def fingerprints(paths: Iterable[str | Path], cache: str | Path) -> dict[str | Path, str | None]:
    """The fingerprint of each file, read in threads, with a progress bar when there are many.

    None stands for a file that is absent or may not be read; any other OSError rises, since it may pass.
    """
    paths, cache = list(dict.fromkeys(paths)), Path(cache)
    known, lines = _read_cache(cache)
    found: dict[str | Path, str | None] = {}
    todo = []
    for path in paths:
        try:
            stat = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            found[path] = None
            continue
        entry = known.get(_cache_key(path, cache))
        if entry and entry[:2] == [stat.st_size, stat.st_mtime_ns]:
            found[path] = entry[2]
        else:
            todo.append((path, stat))
    if not todo:
        return found
    if lines > 2 * len(known) + 100:
        _tidy(cache, known)
    with (
        _Appended(cache) as remember,
        ThreadPoolExecutor(8) as pool,
        tqdm(total=len(todo), unit="file", desc="fingerprints", disable=len(todo) < SHOW_PROGRESS) as bar,
    ):
        try:
            for (path, stat), (digest, settled) in zip(todo, pool.map(lambda item: _read(*item), todo)):
                found[path] = digest
                if settled:
                    remember(_cache_key(path, cache), [stat.st_size, stat.st_mtime_ns, digest])
                bar.update()
        except BaseException:  # Ctrl-C, too: what has not begun is left
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def fingerprint(path: str | Path) -> str:
    """Of one file, which is read. Raises OSError for what cannot be."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(f"{size}\n".encode())
        if size <= BLOCK * BLOCKS:
            places = list(range(0, size, BLOCK))
        else:
            places = [round(i * (size - BLOCK) / (BLOCKS - 1)) for i in range(BLOCKS)]
        for place in places:
            digest.update(os.pread(file.fileno(), BLOCK, place))
    return digest.hexdigest()[:LENGTH]


def _read(path: str | Path, before: os.stat_result) -> tuple[str | None, bool]:
    """Fingerprint, and whether it may be remembered: the file did not change while, or just before, it was read."""
    try:
        digest, after = fingerprint(path), os.stat(path)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        return None, False
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    return digest, same and time.time_ns() - after.st_mtime_ns > SETTLED_NS


def _cache_key(path: str | Path, cache: Path) -> str:
    """Relative to the project where the file lies inside it, so that a moved project keeps its cache."""
    path, project = os.path.abspath(path), os.path.dirname(os.path.dirname(os.path.abspath(cache)))
    return os.path.relpath(path, project) if path.startswith(project + os.sep) else path


def _read_cache(cache: Path) -> tuple[dict[str, list], int]:
    """What is remembered, the last word on each path, and how many lines say it. A broken line says nothing."""
    known, lines = {}, 0
    try:
        with open(cache, encoding="utf-8", errors="replace") as file:
            for lines, line in enumerate(file, start=1):  # noqa: B007
                try:
                    key, entry = json.loads(line)
                    size, changed, digest = entry
                except (ValueError, TypeError):
                    continue
                if isinstance(key, str):
                    known[key] = [size, changed, digest]
    except OSError:
        pass
    return known, lines


class _Appended:
    """Adds one line at a time. Lines of two writers do not mix; a project that cannot be written is planned all the same."""

    def __init__(self, cache: Path):
        self.file = None
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(cache, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __call__(self, key: str, entry: list) -> None:
        if self.file is not None:
            try:
                os.write(self.file, f"{json.dumps([key, entry])}\n".encode())
            except OSError:
                self.__exit__()

    def __exit__(self, *_) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None


def _tidy(cache: Path, known: dict[str, list]) -> None:
    """One line a path again. Of another writer's lines meanwhile some may be lost: that costs a reading, no more."""
    with suppress(OSError):
        write_text(cache, "".join(f"{json.dumps([key, entry])}\n" for key, entry in known.items()))


def combined(digests: Iterable[str | None]) -> str:
    """One fingerprint for several files, in their order, of which some may not be there."""
    digests = [digest or "-" for digest in digests]
    return digests[0] if len(digests) == 1 else hashlib.sha256(",".join(digests).encode()).hexdigest()[:LENGTH]
