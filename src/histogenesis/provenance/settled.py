"""What need not be asked again: of each step of a slide, a digest of all that decided that it need not run.

While the digest is the same, so is the answer. Times and sizes stand for files: for what the step wrote, for its benchmark,
and for Snakemake's own notes, which hold what it compares. What a step reads, the steps before it wrote: their digest is a
part of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from histogenesis.core.files import read_json, write_json

LENGTH = 16  # hexadecimal digits
Stamp = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class State:
    """How a step stands."""

    digest: str
    oldest: int  # ns, of what it wrote and its benchmark; by this Snakemake tells whether what it read is newer
    newest: int  # ns, of what it wrote, and what the steps before it did


def stamp(path: str) -> Stamp:
    """Time of change in ns, and size; None for a file that is not there or cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def state_of(
    params: Iterable[str], outputs: Iterable[str], notes: Iterable[str], benchmark: str | None, before: State | None
) -> State | None:
    """The state of a step; None where a file or a note is missing: then Snakemake is asked. before: of the step before it."""
    written = [stamp(path) for path in [*outputs, *notes]]
    if None in written:
        return None
    timed = stamp(benchmark) if benchmark else None
    of_outputs = written[: len(written) // 2]  # a note each
    text = repr((sorted(params), written, timed, before and before.digest))
    times = [changed for changed, _ in of_outputs]
    return State(
        hashlib.sha256(text.encode()).hexdigest()[:LENGTH],
        min([*times, *(timed[:1] if timed else ())]),
        max([*times, before.newest if before else 0]),
    )


def read_settled(path: str | Path, about: str) -> dict[str, str]:
    """Step -> digest; nothing where there is no such file, it cannot be read, or it is about another workflow."""
    try:
        found = read_json(path)
    except OSError:
        return {}
    if not isinstance(found, dict) or found.get("about") != about or not isinstance(found.get("settled"), dict):
        return {}
    return found["settled"]


def write_settled(path: str | Path, about: str, settled: dict[str, str]) -> None:
    """A run that cannot be written to is planned all the same."""
    with suppress(OSError):
        write_json(path, {"about": about, "settled": settled}, indent=0)
