"""A run's files, proven: marks when a job has ended, compared before another reads, when a run starts, and when it has ended.

Small files are compared byte by byte. Of large ones that carry checksums of their own (HDF5, read chunk by chunk), and of
slides, the size is looked at, and the bytes by `histogenesis check RUN --deep`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from histogenesis.core.files import sha256_of
from histogenesis.core.whole import (
    DAMAGED,
    Mark,
    copy_path,
    inside,
    mark_path,
    marked,
    read_mark,
    read_mark_file,
    remember,
    set_aside,
    take_mark_back,
    what_is_wrong,
    write_mark,
)

SMALL = 1 << 20  # bytes; HDF5 files and slides up to here are compared whole, all other files are whatever their size
LARGE = {".h5", ".tif"}
AT_ONCE = 5000  # marks in memory: of 20,000 slides there are 200,000
# What rules write beside their outputs: rule -> patterns, with the job's wildcards.
BESIDE = {
    "cut_patches": [
        "patches/{patch_set}/coords/*/patches/{slide}.h5",
        "patches/{patch_set}/coords/*/patches/{slide}_patches.h5",
    ],
    "measure_coherence": ["evaluation/{slide}/seams_level*"],
}
BESIDE["cut_regions"] = BESIDE["cut_patches"]


def files_in(path: Path) -> list[Path]:
    """The file, or the files of a folder but Snakemake's own."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".snakemake"))
    return [path] if path.is_file() else []


def every_byte(path: Path, size: int) -> bool:
    return size <= SMALL or path.suffix not in LARGE


# ------------------------------------------------------------------------------------------------------------ jobs


def take_back(run: Path, outputs: Sequence[str]) -> None:
    """Before a job begins: its outputs prove nothing until it has ended. Of one that mends, what they were is remembered."""
    mends = any((run / DAMAGED / inside(run, one)).exists() or damaged_mark(run, one).exists() for one in outputs)
    for output in outputs:
        if mends:
            remember(run, output)
        else:
            for file in marked(run, output):
                take_mark_back(run, file)


def vouch(
    run: Path, rule: str, wildcards: Mapping[str, str], outputs: Iterable[str], inputs: Iterable[str] = ()
) -> None:
    """When a job has ended well: a mark for each file that it wrote.

    A file that was damaged, and is the same again, gets the time back that it had: nothing that was made of it is made again.
    """
    outputs, written = list(outputs), datetime.now().astimezone().isoformat(" ", "seconds")
    found = [(file, output) for output in outputs for file in files_in(Path(output))]
    for pattern in BESIDE.get(rule, []):
        found += [(file, outputs[0]) for file in sorted(run.glob(pattern.format(**wildcards))) if file.is_file()]
    newest = max((os.stat(name).st_mtime_ns for name in inputs if os.path.exists(name)), default=0)
    for file, output in found:
        stat, known = os.stat(file), read_mark(run, file)
        if known and (known["size"], known["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns):
            continue  # on the machine where it ran, already
        mark: Mark = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_of(file)}
        mark |= {"output": inside(run, output), "rule": rule, "wildcards": dict(wildcards), "written": written}
        before = read_mark_file(damaged_mark(run, file))
        if before and before["sha256"] == mark["sha256"] and before["mtime_ns"] >= newest:
            os.utime(file, ns=(time.time_ns(), before["mtime_ns"]))
            mark["mtime_ns"] = before["mtime_ns"]
        write_mark(run, file, mark)
        damaged_mark(run, file).unlink(missing_ok=True)


def damaged_mark(run: Path, path: str | Path) -> Path:
    """The mark of a file that was set aside; it is there until the file is made again."""
    return run / DAMAGED / f"{inside(run, path)}.json"


def damage_to(run: Path, inputs: Iterable[str]) -> list[str]:
    """Before a job reads: a line for each of its inputs that is not what was written, which is set aside."""
    lines = []
    for name in inputs:
        for file in files_in(Path(name)) or [Path(name)]:
            mark = read_mark(run, file)
            wrong = mark and what_is_wrong(file, mark, every_byte(file, mark["size"]))
            if mark and wrong:
                lines.append(set_aside(run, file, wrong, mark) + " by the next start")
    return lines


# ------------------------------------------------------------------------------------------------------------ runs


def marks(run: Path) -> Iterator[tuple[Path, Mark | None]]:
    """(file, its mark), of all that has one; None for a mark that is damaged itself, and its copy as well."""
    for file in marked(run):
        yield file, read_mark(run, file)


def damage_in(
    run: Path,
    deep: bool = False,
    known: Mapping[str, list] | None = None,
    note: Callable[[Path, list], object] = lambda *_: None,
    found: Iterable[tuple[Path, Mark | None]] | None = None,
) -> list[tuple]:
    """(file, what is wrong, mark) of all of a run that is not what was written; outputs that are missing Snakemake knows.

    deep: every byte. known: file -> [size, time of change] of what was looked at; note(file, those): one more is. found: what
    `marks` gave, where it was asked before.
    """

    def look(item: tuple[Path, Mark | None]) -> tuple | None:
        file, mark = item
        if mark is None and is_phantom(run, file):
            # Used unproven, a phantom that was swapped for another would be learnt from as that slide.
            return file, f"nothing proves it, since {mark_path(run, file)} is damaged", as_found(run, file)
        if mark is None:
            return None
        wrong = what_is_wrong(file, mark, every_byte=False)
        if wrong == "missing" and (mark["output"] == inside(run, file) or not (run / mark["output"]).exists()):
            return None  # also of what lay beside an output that was deleted to make room
        if not wrong and (deep or every_byte(file, mark["size"])):
            stat = os.stat(file)
            state = [stat.st_size, stat.st_mtime_ns]
            if (known or {}).get(str(file)) != state:
                wrong = what_is_wrong(file, mark)
                if not wrong:
                    note(file, state)
        return (file, wrong, mark) if wrong else None

    todo, damaged = iter(marks(run) if found is None else found), []
    with ThreadPoolExecutor(8) as pool:
        while some := list(islice(todo, AT_ONCE)):
            damaged += [one for one in pool.map(look, some) if one]
    return damaged


def mend_marks(run: Path, lines: list[str]) -> Iterator[tuple[Path, Mark | None]]:
    """A mark that is damaged is written anew from its copy, and a line added for each. Gives what `marks` gives, read once.

    Where both are, nothing is known but that the file is the run's own: so that one which a reader finds damaged is made again,
    they say what it is now. Phantoms go with theirs.
    """
    for file in marked(run):
        path = mark_path(run, file)
        first = read_mark_file(path)
        mark = first or read_mark_file(copy_path(run, file))
        if mark and not first:
            write_mark(run, file, mark)
            lines.append(f"{path}: damaged; written anew from its copy")
        elif mark and not copy_path(run, file).is_file():
            write_mark(run, file, mark)
        elif not mark and not is_phantom(run, file):
            if file.is_file() and not is_beside(run, file):
                write_mark(run, file, as_found(run, file))
            else:
                take_mark_back(run, file)
            lines.append(f"{path}: damaged, as its copy is; {file} is used unproven until it is made again")
        yield file, mark


def is_beside(run: Path, file: Path) -> bool:
    """Whether a rule wrote it beside its outputs: by itself nothing makes it again."""
    patterns = [re.sub(r"{\w+}", "*", pattern) for patterns in BESIDE.values() for pattern in patterns]
    return any(fnmatch(inside(run, file), pattern) for pattern in patterns)


def is_phantom(run: Path, file: Path) -> bool:
    return inside(run, file).startswith("phantoms/") and file.is_file()


def as_found(run: Path, file: Path) -> Mark:
    """In place of a lost mark: what a file is now. If it comes out so again, what was made of it stays."""
    stat, output, rule, wildcards = file.stat(), inside(run, file), "a step that its mark named", {}
    if is_phantom(run, file):
        rule, wildcards = "make_phantom", {"slide": file.name.removesuffix(".tif").removesuffix(".mask.png")}
    for beside in marked(run, file.parent):
        mark = read_mark(run, beside)
        if mark and Path(output).is_relative_to(mark["output"]):  # a folder, of which this is a part
            output, rule, wildcards = mark["output"], mark["rule"], mark["wildcards"]
    return {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sha256": sha256_of(file),
        "output": output,
        "rule": rule,
        "wildcards": wildcards,
        "written": "at a time that its mark said",
    }


def heal(run: Path) -> list[str]:
    """When a run starts: set aside what is damaged. A line for each."""
    lines: list[str] = []
    damaged = damage_in(run, found=mend_marks(run, lines))
    return lines + [set_aside(run, file, wrong, mark) for file, wrong, mark in damaged]


def to_be_healed(run: Path) -> dict[str, dict[str, str]]:
    """Output -> wildcards, of all that was set aside and has not been made again."""
    found = {}
    for path in sorted((run / DAMAGED).rglob("*.json")):
        mark = read_mark_file(path)
        if mark and not (run / mark["output"]).exists():
            found[os.path.normpath(run / mark["output"])] = mark["wildcards"]
    return found


def remembered(run: Path) -> dict[str, dict[str, str]]:
    """Output -> file -> digest, of all that is to be made again because there was damage."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((run / DAMAGED).rglob("*.json")):
        if mark := read_mark_file(path):
            name = path.relative_to(run / DAMAGED).with_suffix("").as_posix()
            found.setdefault(os.path.normpath(run / mark["output"]), {})[name] = mark["sha256"]
    return found


def is_mended(run: Path, output: str, before: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether an output that was damaged is what it was, file by file."""
    wanted = before.get(os.path.normpath(output))
    marks = {name: read_mark(run, run / name) for name in wanted or ()}
    return bool(wanted) and all(mark and mark["sha256"] == wanted[name] for name, mark in marks.items())


def note_times(run: Path, output: Path) -> None:
    """The files of an output have another time now, and are the same."""
    for file in marked(run, output):
        mark = read_mark(run, file)
        if mark and file.exists():
            write_mark(run, file, mark | {"mtime_ns": os.stat(file).st_mtime_ns})


def missing_of(outputs: Iterable[str]) -> list[str]:
    """When all jobs have ended well: what they wrote, and is not there."""
    return [
        f"{name}: missing: it was made and is gone; it is made again by the next start"
        for name in outputs
        if not os.path.exists(name)
    ]


def depends_on(project: Path, run: Path, files: Iterable[Path]) -> dict[str, list[str]]:
    """file -> what was made of it, directly or not, by Snakemake's notes."""
    from histogenesis.provenance.records import _records

    made_of: dict[str, set[str]] = {}
    for name, (_, record) in _records(project, f"results/{run.name}/"):
        for one in record["input"] or []:
            made_of.setdefault(one, set()).add(name)
    found = {}
    for file in files:
        name = os.path.relpath(file, project)
        seen: set[str] = set()
        todo = [name]
        while todo:
            new = made_of.get(todo.pop(), set()) - seen
            seen |= new
            todo.extend(new)
        found[name] = sorted(seen)
    return found


class Looked:
    """What a deep check has looked at already, a line a file: {run}/state/checked.jsonl. A check that was stopped goes on."""

    def __init__(self, run: Path, anew: bool = False):
        self.path = run / "state/checked.jsonl"
        self.known: dict[str, list] = {}
        if anew:
            self.path.unlink(missing_ok=True)
        if self.path.exists():
            for line in self.path.read_text(errors="replace").splitlines():
                try:
                    name, state = json.loads(line)
                    self.known[name] = state
                except (ValueError, TypeError):  # cut off
                    continue

    def note(self, file: Path, state: list) -> None:
        with open(self.path, "a") as out:
            out.write(f"{json.dumps([str(file), state])}\n")

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
