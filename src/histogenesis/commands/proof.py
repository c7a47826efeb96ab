"""`histogenesis check results/RUN --deep`: every byte of a run at rest against what was written, and what depends on damage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from histogenesis.core.errors import BadInput

HEALING = "state/healing.json"  # a recipe in place of a damaged one, while it is made again
SHOWN = 8  # dependants that are named


def check_run(run_dir: Path, heal: bool = False, anew: bool = False, more: Sequence[str] = ()) -> None:
    """Print a line for each damaged file and what was made of it. heal: set them aside and make them again, and nothing else.

    Goes on where a check was stopped; anew: from the start. Ends the process with 1 where damage is left. Raises BadInput.
    """
    from tqdm import tqdm

    from histogenesis.core.whole import MARKS
    from histogenesis.provenance.whole import Looked, damage_in, depends_on, marks

    run_dir = Path(os.path.relpath(run_dir))
    if not (run_dir / MARKS).is_dir():
        raise BadInput(
            f"{run_dir}: holds no marks of what was written ({MARKS}): not a run, or one of an older version"
        )
    looked, names = Looked(run_dir, anew), [file for file, _ in marks(run_dir)]
    with tqdm(total=len(names), initial=len(looked.known), unit="file", desc=run_dir.name, disable=None) as bar:

        def note(file: Path, state: list) -> None:
            looked.note(file, state)
            bar.update()

        found = damage_in(run_dir, True, looked.known, note)
    looked.forget()
    project = run_dir.resolve().parent.parent
    behind = depends_on(project, run_dir.resolve(), [file for file, _, _ in found])
    for (file, wrong, mark), made in zip(found, behind.values()):
        by = " ".join([mark["rule"], *mark["wildcards"].values()])
        print(f"{file}: damaged: {wrong}. Written {mark['written']} by {by}")
        if made:
            more_made = f" and {len(made) - SHOWN} more" if len(made) > SHOWN else ""
            print(f"  of it were made: {', '.join(made[:SHOWN])}{more_made}")
    gone = [file for file, _ in marks(run_dir) if not file.exists()]
    if gone:
        print(f"not there: {len(gone)} files, made again when a step needs them ({', '.join(map(str, gone[:3]))}, ...)")
    print(f"{run_dir}: {len(names)} files, {len(found)} damaged")
    if found and heal:
        make_again(run_dir, project, found, more)
    elif found:
        sys.exit(
            f"error: {len(found)} damaged; `histogenesis check {run_dir} --deep --heal` makes them, and no more, again"
        )


def recipe_of(run_dir: Path) -> Path:
    """The run's recipe file; where that was damaged and is gone, one written from the run's state. Raises BadInput."""
    from histogenesis.core.files import write_json

    if (recipe := run_dir / "recipe.yaml").is_file():
        return recipe
    try:
        told = json.loads((run_dir / "state/recipe.json").read_text())["recipe"]
    except (OSError, ValueError, KeyError):
        raise BadInput(
            f"{recipe}: damaged, and set aside: start the run by the recipe file that it was made from, and all is made again"
        ) from None
    write_json(again := run_dir / HEALING, told)
    return again


def make_again(run_dir: Path, project: Path, found: list[tuple], more: Sequence[str]) -> None:
    """Set damaged files aside and have Snakemake make them. Says which came out as they were."""
    from histogenesis.commands.run import command
    from histogenesis.core.whole import read_mark, set_aside

    for file, wrong, mark in found:
        print(set_aside(run_dir, file, wrong, mark))
    wanted = sorted({os.path.relpath(run_dir / mark["output"], project) for _, _, mark in found})
    words = command(recipe_of(run_dir.resolve()), "all", None, ["--directory", str(project), *more])
    ended = subprocess.run([*words[:-1], *wanted], check=False).returncode
    (run_dir / HEALING).unlink(missing_ok=True)
    now = {file: read_mark(run_dir, file) for file, _, _ in found}
    other = [str(file) for file, _, mark in found if not now[file] or now[file]["sha256"] != mark["sha256"]]
    print(f"{len(found) - len(other)} of {len(found)} are what they were, byte for byte: what was made of them stays")
    if other:
        print(f"not so {', '.join(other)}: what was made of them follows with the next run")
    if ended:
        sys.exit(f"error: Snakemake ended with {ended}; what it could not make is made by the next run")
