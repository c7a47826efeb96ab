"""Whether what was made again is what it was."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from pathlib import Path

STAMP = ".snakemake_timestamp"  # a folder's time, for Snakemake
OF_THE_CODE = {"drawing", "attributes_sha256"}  # attributes of HDF5 that say by which code they were drawn
ROWS = 1024  # of a dataset that are compared at once


def files_of(path: Path) -> dict[Path, Path]:
    """The files of a folder by their names in it, or a file."""
    return {p.relative_to(path): p for p in path.rglob("*") if p.is_file()} if path.is_dir() else {Path(): path}


def link(old: Path, new: Path) -> None:
    """Every file of a file or folder under a second name; of a link, the file that it leads to. Raises OSError if it cannot."""
    new.parent.mkdir(parents=True, exist_ok=True)
    old = old.resolve()
    if old.is_dir():
        shutil.copytree(old, new, copy_function=os.link)
    else:
        os.link(old, new)


def same_content(old: Path, new: Path) -> bool:
    """Whether two files, or all files of two folders, hold the same; of HDF5, whatever the code was that drew it, and of a
    training's log, however long its steps took."""
    before, after = files_of(old), files_of(new)
    return before.keys() == after.keys() and all(
        name.name == STAMP
        or filecmp.cmp(before[name], after[name], shallow=False)
        or _same_hdf5(before[name], after[name])
        or _same_log(before[name], after[name])
        for name in after
    )


def _same_log(old: Path, new: Path) -> bool:
    def steps(path: Path) -> list[dict]:
        return [json.loads(line) | {"seconds": None} for line in path.read_text().splitlines()]

    try:
        return old.suffix == new.suffix == ".jsonl" and steps(old) == steps(new)
    except (ValueError, TypeError):  # of a run that was killed as it wrote: another log, and no reason to stop this one
        return False


def _same_hdf5(old: Path, new: Path) -> bool:
    import h5py
    import numpy as np

    if old.suffix != ".h5" and new.suffix != ".h5":
        return False

    def attributes(item) -> dict[str, str]:
        return {key: repr(value) for key, value in item.attrs.items() if key not in OF_THE_CODE}

    def same(first, second) -> bool:
        if attributes(first) != attributes(second) or type(first) is not type(second):
            return False
        if isinstance(first, h5py.Dataset):
            rows = [slice(k, k + ROWS) for k in range(0, first.shape[0], ROWS)] if first.shape else []
            parts = rows if first.shape else [...]
            return (first.shape, first.dtype) == (second.shape, second.dtype) and all(
                np.array_equal(first[part], second[part]) for part in parts
            )
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)

    try:
        with h5py.File(old) as first, h5py.File(new) as second:
            return same(first, second)
    except OSError:
        return False
