"""The code that made a run, which goes into its crate: this clone, or what an installed package or a module has unpacked."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.core.home import PACKAGE
from histogenesis.core.software import git_state
from histogenesis.provenance.contents import files_in
from histogenesis.provenance.digests import code_digest, environment_digest
from histogenesis.provenance.records import Job

CODE = ["Snakefile", "rules", "workflow", "src", "envs", "config", "profiles", "slurm", "pyproject.toml"]
UNPACKED = ".histogenesis/code"  # by workflow/Snakefile, in the folder where snakemake runs


def code_of(jobs: list[Job], project: Path) -> Path:
    """The folder of the workflow that made a run: Snakefile, workflow/, src/. Raises BadInput where it is not there: any other
    would make the run anew."""
    there = [
        PACKAGE.parents[1],
        *sorted(project.glob(f"{UNPACKED}/*"), key=lambda path: path.stat().st_mtime, reverse=True),
    ]
    there = [path for path in there if (path / "Snakefile").is_file() and (path / "src").is_dir()]
    if not there:
        raise BadInput(
            f"{project / UNPACKED}: the code that made the run is not there. Run it again where its results lie (`histogenesis"
            " run recipe.yaml`), which unpacks it; or share it from the clone that it was made with"
        )
    others = [made_by_other(jobs, path) for path in there]
    if all(others):
        raise BadInput(
            f"{', '.join(sorted(others[0]))}: made by other code, or in another environment, than this checkout has. Check out"
            " the commit that the run was made with, or bring the run up to date (snakemake), then share it"
        )
    return there[others.index(set())]


def made_by_other(jobs: list[Job], code: Path) -> set[str]:
    """The rules whose jobs were not made by the code of this folder, or not in its environments."""
    now: dict[str, str] = {}
    environments = {environment_digest(path.stem, code) for path in code.glob("envs/*.yaml")}
    old = set()
    for job in jobs:
        if job.script and job.script not in now:
            script = code / "workflow/scripts" / job.script
            now[job.script] = code_digest(script, code) if script.exists() else "none"
        if job.told("code") != now.get(job.script) or job.told("env") not in environments | {None}:
            old.add(job.rule)
    return old


def code_files(code: Path) -> list[Path]:
    """The workflow's files: what git knows or would add; without git, all but caches."""
    found = subprocess.run(
        ["git", "-C", str(code), "ls-files", "-coz", "--exclude-standard", *CODE],
        capture_output=True,
        text=True,
        check=False,
    )
    if git_state(code)["commit"] and found.returncode == 0:
        paths = [code / name for name in found.stdout.split("\0") if name]
    else:
        paths = [path for part in CODE for path in files_in(code / part)]
    skip = re.compile(r"__pycache__|\.egg-info|\.snakemake|^src/histogenesis/pretrained/")
    return sorted(path for path in paths if path.is_file() and not skip.search(path.relative_to(code).as_posix()))
