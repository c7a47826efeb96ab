"""What keeps a run from starting is said in one message, with the remedy; some are Snakemake's own, and are watched here."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

SNAKEFILE = """
rule work:
    output: "out.txt"
    conda: "env.yaml"
    shell: "echo half > {output}; touch started; sleep 60"
"""
PYTHON = Path(sys.executable).parent


@pytest.fixture
def snakemake(tmp_path):
    """Start Snakemake on one slow rule, with `bin` in the folder ahead of the PATH and no real conda."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "env.yaml").write_text("dependencies: [python=3.11.9]\n")
    (tmp_path / "bin").mkdir()
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        env = os.environ | {"PATH": f"{tmp_path}/bin:{PYTHON}:/usr/bin:/bin"}
        words = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
        # A group of its own, so that it can be killed as a whole.
        started.append(
            subprocess.Popen(
                words,
                cwd=tmp_path,
                env=env,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def said(process: subprocess.Popen) -> str:
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 1, text
    return " ".join(text.split())


def started(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not (folder / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_conda(snakemake):
    text = said(snakemake("--sdm", "conda"))
    assert "conda" in text and "Is conda installed and accessible?" in text


def test_a_conda_that_is_too_old(snakemake, tmp_path):
    """Snakemake asks for its version before anything is installed."""
    (tmp_path / "bin/conda").write_text(
        '#!/bin/sh\ncase "$*" in\n*--version*) echo conda 4.10.3;;\n'
        f'*) echo \'{{"conda_prefix": "{tmp_path}", "root_prefix": "{tmp_path}", "platform": "linux-64"}}\';;\nesac\n'
    )
    (tmp_path / "bin/conda").chmod(0o755)
    text = said(snakemake("--sdm", "conda"))
    assert "Conda must be version 24.7.1 or later, found version 4.10.3" in text
    assert "Please update conda" in text


def test_two_at_once_and_a_lock_that_was_left_behind(snakemake, tmp_path):
    first = snakemake()
    started(tmp_path)
    text = said(snakemake("--rerun-incomplete"))  # as the slurm profile has it
    assert "make sure that no other Snakemake process" in text
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    text = said(snakemake("--rerun-incomplete"))
    assert "likely caused by a kill signal" in text and "--unlock" in text
    unlocked = snakemake("--unlock")
    unlocked.communicate(timeout=60)
    assert unlocked.returncode == 0
    text = said(snakemake())
    assert "incomplete" in text and "--rerun-incomplete" in text


def test_results_of_another_version(root, tmp_path):
    """The commit is said that made them; a copy without git says nothing, and its exact reruns are the same."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "init", "--quiet", str(clone)], check=True)
    for name in ["Snakefile", "rules", "workflow", "src", "config", "envs"]:
        (shutil.copytree if (root / name).is_dir() else shutil.copy2)(root / name, clone / name)
    commit(clone)
    made = clone / "results/test-harb/made_by.txt"
    words = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "config/test/harb.yaml"]
    env = os.environ | {"PATH": f"{PYTHON}:/usr/bin:/bin"}

    def run(*arguments: str) -> str:
        done = subprocess.run([*words, *arguments], check=True, cwd=clone, env=env, capture_output=True, text=True)
        return done.stdout + done.stderr

    assert "was made by version" not in run("--", "results/test-harb/recipe.yaml")
    first = made.read_text().strip()
    (clone / "config/README.md").write_text("another version\n")
    commit(clone)
    text = run("--dry-run")
    assert f"results/test-harb was made by version {first} of the workflow; this is " in text
    assert f"git checkout {first}" in text
    assert made.read_text().strip() == first  # a dry run changes nothing


def commit(folder: Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (folder / ".gitignore").write_text("results\n.snakemake\n.histogenesis\n__pycache__\n")
    subprocess.run(["git", "-C", str(folder), "add", "--all"], check=True)
    subprocess.run(["git", "-C", str(folder), *who, "commit", "--quiet", "--message", "a version"], check=True)
