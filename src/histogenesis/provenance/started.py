"""What a run that has begun leaves in its folder: what it owes, from which recipe it is, and that somebody is at work on it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from histogenesis.core import files
from histogenesis.core.errors import BadInput

UNFINISHED = "unfinished.json"


def write_json(path: Path, value: Any) -> None:
    files.write_json(path, value, sort_keys=True, ensure_ascii=False)  # as a crate has it


def owed(run_dir: Path) -> dict[str, dict[str, str]]:
    """Output -> wildcards, of all that earlier runs set out to make and that is not there."""
    begun = files.read_json(run_dir / UNFINISHED) or {}
    return {name: wildcards for name, wildcards in begun.items() if not os.path.exists(name)}


def begin(run_dir: Path, outputs: dict[str, dict[str, str]]) -> None:
    """Before the first output is deleted: these are owed, beside what is owed already."""
    write_json(run_dir / UNFINISHED, owed(run_dir) | outputs)


def forget(run_dir: Path) -> None:
    """All jobs of a run have ended well. What it did not make is still owed."""
    if left := owed(run_dir):
        write_json(run_dir / UNFINISHED, left)
    else:
        (run_dir / UNFINISHED).unlink(missing_ok=True)


def have_alone(run_dir: Path) -> None:
    """Be the only one at work on a run until this process ends, however it ends. Raises BadInput where another is.

    The lock is the kernel's, so a killed process leaves none. Where the file system has no locks it goes on without.
    """
    path = run_dir / "state" / "at_work.lock"
    with suppress(OSError):
        if not files.lock(path):
            raise BadInput(f"{run_dir}: {files.holder(path)} is at work on this run; wait for its end, or stop it")


def claim(run_dir: Path, recipe_file: str | None, still_claims) -> None:
    """Note which recipe file a run is made from. Raises BadInput where another recipe file claims the same run.

    still_claims(file): whether that file is a recipe of this run. An edited, moved or renamed recipe is the same recipe.
    """
    note = run_dir / "made_from.txt"
    before = note.read_text().strip() if note.exists() else None
    own = recipe_file is None or Path(recipe_file).resolve().is_relative_to(run_dir.resolve())
    if own or before == recipe_file:
        return
    if before and Path(before).exists() and still_claims(before):
        raise BadInput(
            f"{recipe_file}: its run {run_dir.name!r} is that of {before}, whose results it would overwrite: give it another"
            f" `run:`, or delete {before} (or {note}) if this recipe takes its place"
        )
    files.write_text(note, f"{recipe_file}\n")
