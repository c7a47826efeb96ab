"""What goes into a crate, before it is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Contents:
    """What goes into a crate: name in the crate -> file here, or bytes. `left_out` are files that stay here."""

    files: dict[str, Path | bytes] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)  # ns, where it is not the file's own
    left_out: dict[str, Path] = field(default_factory=dict)

    def add(self, name: str, content: Path | bytes, time_ns: int) -> None:
        self.files[name], self.times[name] = content, time_ns


def files_in(path: Path) -> list[Path]:
    """The file, or the files of a folder; none where there is nothing (a step's by-product that somebody deleted)."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    return [path] if path.is_file() else []
