"""Work that runs share: what one has made of the same slide in the same way, another takes from a common folder.

    python -m histogenesis.steps.once STORE -- TOLD ... -- READS ... -- WRITES ... -- [FOLDER PATTERN ...] -- COMMAND ...

A result's name there is a digest of all that decides on it: what the step is told (sections, contents, code, environment) and
the bytes of the files that it reads. Under it lie the step's files, and a run has links to them; what it deletes or replaces is
the link. Where nothing lies there, the command runs, and what it made is put there whole, by one renaming: of two runs at once
that make the same, both have what the first put there. A link that leads nowhere is to Snakemake a file that is missing: made
again. Without a STORE (an empty word) the command alone runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from hashlib import blake2b, file_digest
from pathlib import Path

NOTHING: tuple[Path, list[str]] = (Path(), [])


def once(
    store: Path,
    told: list[str],
    reads: list[Path],
    writes: list[Path],
    make: Callable[[], int],
    beside: tuple[Path, list[str]] = NOTHING,
) -> int:
    """Have `writes` as links to what is in the store, made first where it is not there; returns what `make` does, or 0.

    told, reads: what decides on the result. beside: a folder, and patterns of small files in it, which are copied and not
    linked. Raises OSError.
    """
    place, (folder, patterns) = store / key_of(told, reads), beside
    if not place.is_dir():
        if code := make():
            return code
        small = sorted(path.relative_to(folder) for pattern in patterns for path in folder.glob(pattern))
        keep(
            place, {Path(path.name): path for path in writes} | {Path("beside", path): folder / path for path in small}
        )
    for path in writes:
        link(place / path.name, path)
    for path in (path for path in place.glob("beside/**/*") if path.is_file()):
        target = folder / path.relative_to(place / "beside")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(path, target)
    return 0


def key_of(told: list[str], reads: list[Path]) -> str:
    """The name under which a result lies."""
    key = blake2b("\0".join([*sorted(told), ""]).encode(), digest_size=20)
    for path in reads:
        with open(path, "rb") as file:
            key.update(file_digest(file, "sha256").digest())
    return key.hexdigest()


def keep(place: Path, files: dict[Path, Path]) -> None:
    """Put files (name there -> path) into the store, all or none; where another run was faster, that is as good."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=".new.", dir=place.parent))
    try:
        for name, path in files.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, new / name)
            (new / name).chmod(0o444)
        new.chmod(0o755)
        new.rename(place)
    except OSError:
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def link(there: Path, here: Path) -> None:
    """A relative link, so that run and store may be moved together; it takes the place of a file."""
    here.parent.mkdir(parents=True, exist_ok=True)
    part = here.with_name(f".part.{here.name}")
    part.unlink(missing_ok=True)
    part.symlink_to(os.path.relpath(there, here.parent.resolve()))
    part.replace(here)


def main() -> None:
    """The command; what it is given stands between `--`."""
    *about, command = groups(sys.argv[1:], 6)
    if about[0] == [""]:
        os.execvp(command[0], command)
    (store,), told, reads, writes, beside = about
    folder, *patterns = beside or ["."]
    sys.exit(
        once(
            Path(store),
            told,
            [Path(path) for path in reads],
            [Path(path) for path in writes],
            lambda: subprocess.run(command, check=False).returncode,
            (Path(folder), patterns),
        )
    )


def groups(words: list[str], count: int) -> list[list[str]]:
    """Words as so many lists, parted by `--`; the last one may have `--` itself."""
    found: list[list[str]] = [[]]
    for word in words:
        if word == "--" and len(found) < count:
            found.append([])
        else:
            found[-1].append(word)
    return found


if __name__ == "__main__":
    main()
