"""Real Snakemake runs of the tiny recipe, each in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.pop("HISTOGENESIS_SLIDE_ROOT", None)  # tests bring their own slides


class Run:
    """Snakemake in `folder`, as a user runs it; the repository stays where it is."""

    def __init__(self, root: Path, folder: Path):
        self.root, self.folder = root, folder

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            str(self.root / "Snakefile"),
            "--directory",
            str(self.folder),
        ]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # jobs call `python`
        env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **environment}
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=env, check=False)
        if check and done.returncode:
            said = re.split(r"(?=Error in rule|Error:|Exception)", done.stdout + done.stderr, maxsplit=1)[-1]
            raise AssertionError(f"snakemake failed:\n{said[:2000]}\n...\n{said[2000:][-3000:]}")
        return done

    def run(self, recipe: str | Path, *arguments: str, **kwargs) -> subprocess.CompletedProcess:
        return self.snakemake("--cores", "2", "--configfile", str(self.root / recipe), *arguments, **kwargs)

    def planned(self, recipe: str | Path, *arguments: str, **environment: str) -> dict[str, int]:
        """The jobs that a dry run plans: rule -> how many (without `all`)."""
        return self.count(self.run(recipe, "--dry-run", *arguments, **environment).stdout)

    @staticmethod
    def count(text: str) -> dict[str, int]:
        """The jobs that what a dry run prints lists: rule -> how many (without `all`)."""
        table = (
            re.findall(r"^(\w+)\s+(\d+)$", text.split("Job stats:")[-1], re.MULTILINE) if "Job stats:" in text else []
        )
        return {rule: int(count) for rule, count in table if rule not in ("all", "total")}


@pytest.fixture(scope="session")
def finished(root, tmp_path_factory) -> Run:
    """The tiny twin of `harb`, run from start to end once. Tests that change it copy it first."""
    run = Run(root, tmp_path_factory.mktemp("harb"))
    run.run("config/test/harb.yaml")
    return run


@pytest.fixture
def copied(finished, tmp_path) -> Run:
    """A copy of the finished run, with its times and Snakemake's notes."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder, symlinks=True)
    return Run(finished.root, folder)


@pytest.fixture(scope="session")
def finished_lab(root, tmp_path_factory):
    """A lab (lab.py) whose recipe has run from start to end. Tests copy it first."""
    from .lab import set_up

    lab = set_up(root, tmp_path_factory.mktemp("labs") / "finished")
    lab.make()
    return lab


@pytest.fixture
def lab(finished_lab, tmp_path):
    """A copy of the finished lab, elsewhere."""
    return finished_lab.copy(tmp_path / "copy")
