"""One real SLURM for all tests of this folder. Where there is none they skip, and say why."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster, why_not
from harb import HARB, WORKFLOW, last_job, show, since

LOCK = Path("/tmp/histogenesis-slurm.lock")
QUICK = Path(__file__).with_name("quick_snakemake.py")
SOONER = ["--slurm-init-seconds-before-status-checks", "2"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A running cluster. /run/slurm/conf is one path for the whole machine, so test runs take turns."""
    if reason := why_not():
        pytest.skip(reason)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Cluster(tmp_path_factory.mktemp("slurm")) as running:
            yield running


def _hear_ctrl_c() -> None:
    """A shell's background command, as these tests are to `make test`, is started deaf to it, and so would be its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def snakemake(cluster, root):
    """Start `snakemake --profile slurm ...` in a folder; returns the process, whose output goes to snakemake.log there.

    What differs from a user's run: status is asked sooner (not with `plain`), and conda environments are not made (`--sdm
    env-modules` takes the place of the profile's conda), so that jobs use the running Python.
    """

    started = []

    def start(
        folder: Path, *arguments: str, profile: Path | str = root / "slurm", plain: bool = False
    ) -> subprocess.Popen:
        words = [sys.executable, *(["-m", "snakemake"] if plain else [str(QUICK), *SOONER])]
        words += ["--profile", str(profile), "--sdm", "env-modules", *arguments]
        scripts = Path(sys.executable).parent
        env = os.environ | {"PATH": f"{scripts}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        with (folder / "snakemake.log").open("ab") as log:
            output = {"stdout": log, "stderr": subprocess.STDOUT}
            started.append(subprocess.Popen(words, cwd=folder, env=env, preexec_fn=_hear_ctrl_c, **output))  # noqa: PLW1509
        return started[-1]

    yield start
    for process in started:  # of tests that failed
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def finished(cluster, snakemake, root, tmp_path_factory):
    """The tiny `harb`, from slides to report, in peace: the folder and its jobs."""
    folder = tmp_path_factory.mktemp("harb") / "histogenesis"
    for name in WORKFLOW:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy2
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(root / name, folder / name)
    before = last_job(cluster)
    process = snakemake(folder, *HARB, profile="slurm")
    assert process.wait(900) == 0, (folder / "snakemake.log").read_text()[-6000:]
    jobs = since(cluster, before)
    show(jobs)
    return folder, jobs
