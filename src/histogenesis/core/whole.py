"""What proves a run's files whole, and what is done with one that is not.

Beside the files that a job has written lie marks: {run}/state/whole/{path}.json says of each its size, its digest (sha256),
which rule wrote it and when, and a copy of that lies in {run}/state/whole.copy, since a mark rots as any file does. They are
written when the job has ended well and taken back before it begins (provenance/whole.py). Only what has a mark is a run's
own: a user's file has none and is never touched.

A damaged file is moved to {run}/state/damaged, with its mark. So it is missing, and the next start makes it again.
"""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from histogenesis.core.errors import BadInput
from histogenesis.core.files import move, sha256_of, write_json

MARKS, COPIES, DAMAGED = "state/whole", "state/whole.copy", "state/damaged"
Mark = dict[
    str, Any
]  # file, size, mtime_ns, sha256; output: what its rule declares, which holds it; rule, wildcards, written


class Damaged(BadInput):
    """A file that is not what was written: the message names it, what is wrong, who wrote it and when, and what follows."""


def run_of(path: str | Path) -> Path | None:
    """The folder of the run that a file lies in, or None."""
    return next((folder for folder in Path(os.path.abspath(path)).parents if (folder / MARKS).is_dir()), None)


def mark_path(run: Path, path: str | Path) -> Path:
    return run / MARKS / f"{inside(run, path)}.json"


def inside(run: Path, path: str | Path) -> str:
    """A file's name within its run."""
    return os.path.relpath(os.path.abspath(path), os.path.abspath(run))


def read_mark(run: Path, path: str | Path) -> Mark | None:
    """A file's mark, or its copy; None where it has none, or neither can be read: that proves nothing."""
    return read_mark_file(mark_path(run, path)) or read_mark_file(copy_path(run, path))


def copy_path(run: Path, path: str | Path) -> Path:
    return run / COPIES / f"{inside(run, path)}.json"


def read_mark_file(file: Path) -> Mark | None:
    try:
        mark = json.loads(file.read_bytes())
        own = [f"/{top}/{mark['file']}.json" for top in (MARKS, COPIES, DAMAGED)]  # marks may have been swapped
        return mark if mark.pop("proof") == proof_of(mark) and f"/{file.as_posix()}".endswith(tuple(own)) else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def write_mark(run: Path, path: str | Path, mark: Mark) -> None:
    mark = mark | {"file": inside(run, path)}
    for file in (copy_path(run, path), mark_path(run, path)):
        write_json(file, mark | {"proof": proof_of(mark)}, indent=0, sort_keys=True)


def take_mark_back(run: Path, path: str | Path) -> None:
    for file in (mark_path(run, path), copy_path(run, path)):
        file.unlink(missing_ok=True)


def proof_of(mark: Mark) -> str:
    """A mark is a file too, and may rot."""
    return sha256(json.dumps(mark, sort_keys=True).encode()).hexdigest()[:16]


def what_is_wrong(path: str | Path, mark: Mark, every_byte: bool = True) -> str | None:
    """In words, or None for a file that is what was written; without `every_byte` only its size is looked at."""
    try:
        size = os.stat(path).st_size
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if size != mark["size"]:
        kind = "empty" if not size else "cut off" if size < mark["size"] else "too long"
        return f"{kind} ({size} bytes, and {mark['size']} were written)"
    if every_byte and sha256_of(path) != mark["sha256"]:
        return "other bytes than were written"
    return None


def set_aside(run: Path, path: str | Path, wrong: str, mark: Mark) -> str:
    """Move a damaged file away, so that its rule runs again; returns the line that says all this."""
    name = inside(run, path)
    kept = run / DAMAGED / name
    if not read_mark(run, path):  # it rotted itself
        write_mark(run, path, mark)
    remember(run, path)
    if os.path.lexists(path):
        shutil.move(path, kept)
    output = run / mark["output"]
    if mark["output"] != name:  # in a folder that is an output, or beside one: that must go for the rule to run
        remember(run, output)
        shutil.rmtree(output) if output.is_dir() else output.unlink(missing_ok=True)
    by = " ".join([mark["rule"], *mark["wildcards"].values()])
    return (
        f"{path}: damaged: {wrong}. Written {mark['written']} by {by}; it lies in {kept.parent} now, and is made again"
    )


def marked(run: Path, output: str | Path = "") -> list[Path]:
    """The files of a run that have a mark or a copy of one, in order: all, or an output itself and those in it."""
    found: set[str] = set()
    for top in (str(run / MARKS), str(run / COPIES)):
        inner = inside(run, output) if output else "."
        if os.path.isfile(f"{top}/{inner}.json"):
            found.add(inner)
        for folder, _, names in os.walk(os.path.normpath(f"{top}/{inner}")):
            found.update(os.path.relpath(f"{folder}/{name[:-5]}", top) for name in names if name.endswith(".json"))
    return [run / name for name in sorted(found)]


def remember(run: Path, output: str | Path) -> None:
    """Lay the marks of an output beside what is damaged: what it was before, and that it is to be made again."""
    for file in marked(run, output):
        to = run / DAMAGED / f"{inside(run, file)}.json"
        to.parent.mkdir(parents=True, exist_ok=True)
        there = [one for one in (mark_path(run, file), copy_path(run, file)) if one.is_file()]
        move(max(there, key=lambda one: bool(read_mark_file(one))), to)  # the first, unless only the copy can be read
        take_mark_back(run, file)


def load_json(path: str | Path) -> Any:
    """What a JSON file holds. Raises Damaged for what is none, FileNotFoundError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        found_damaged(path, "it is no JSON")


def found_damaged(path: str | Path, wrong: str) -> NoReturn:
    """Raise Damaged for a file in which a reader has found damage; one of a run is set aside first."""
    run = run_of(path)
    mark = run and read_mark(run, path)
    if run and mark:
        raise Damaged(set_aside(run, path, wrong, mark) + " by the next start")
    raise Damaged(f"{path}: damaged: {wrong}; bring it again, or delete it if this workflow made it")
