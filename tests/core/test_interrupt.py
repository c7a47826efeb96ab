"""Who goes on by itself after a signal, and who does not. With a real SLURM: tests/slurm/test_jobs.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import os, sys, time
from histogenesis.core.interrupt import Stopped, StopRequest, end_stopped
stop = StopRequest()
print("ready", flush=True)
while not stop:
    time.sleep(0.01)
end_stopped(Stopped("step 7: state saved"))
"""


def stopped_by(number: int, folder: Path, scontrol: str | None = "exit 0", **environment: str) -> tuple[int, str, str]:
    """Exit code, standard error, and what `scontrol` was asked, of a process that got the signal."""
    (folder / "bin").mkdir()
    if scontrol is not None:
        (folder / "bin/scontrol").write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n{scontrol}\n')
        (folder / "bin/scontrol").chmod(0o755)
    env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_") and key != "RANK"}
    env |= {"PATH": f"{folder}/bin:/usr/bin:/bin" if scontrol is not None else "/nowhere"} | environment
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    asked = folder / "asked"
    return process.returncode, error, asked.read_text().strip() if asked.exists() else ""


def test_a_warned_job_is_requeued(tmp_path):
    code, error, asked = stopped_by(signal.SIGUSR1, tmp_path, SLURM_JOB_ID="17")
    assert (code, asked) == (75, "requeue 17")
    assert "step 7: state saved; SLURM job 17 is requeued" in error


@pytest.mark.parametrize(
    "number, environment",
    [
        (signal.SIGTERM, {"SLURM_JOB_ID": "17"}),  # scancel, Ctrl-C: somebody wants it to end
        (signal.SIGUSR1, {}),  # no SLURM
        (signal.SIGUSR1, {"SLURM_JOB_ID": "17", "RANK": "1"}),  # the first process does it
    ],
)
def test_others_are_not(tmp_path, number, environment):
    code, error, asked = stopped_by(number, tmp_path, **environment)
    assert (code, asked) == (75, "")
    assert "step 7: state saved" in error


@pytest.mark.parametrize("scontrol", ["echo 'Requested operation is presently disabled' >&2; exit 1", None])
def test_where_requeueing_is_not_possible_it_says_so(tmp_path, scontrol):
    code, error, _ = stopped_by(signal.SIGUSR1, tmp_path, scontrol, SLURM_JOB_ID="17")
    assert code == 75 and "could not be requeued" in error
    assert "presently disabled" in error or "scontrol" in error


def test_a_signal_ignored_by_the_parents_reaches_the_script(tmp_path):
    """Snakemake and the shell ignore SIGUSR1 (rules/retries.smk); what they start inherits that, and takes it back."""
    lines = f"trap '' USR1; echo trapped; exec {sys.executable} -c \"$0\""
    process = subprocess.Popen(["bash", "-c", lines, SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "trapped\n"
    process.send_signal(signal.SIGUSR1)  # before there is a handler: lost, and harmless
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=20)
    assert process.returncode == 75


# ------------------------------------------------------------------------------------------------------------ one at a time

HOLD = """
import sys, time
from pathlib import Path
from histogenesis.core.interrupt import hold
hold(Path(sys.argv[1]), ask_every_s=0.05)
print("mine", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start processes that want the state folder; returns one whose standard output can be read line by line."""
    started = []

    def start(**environment: str) -> subprocess.Popen:
        words = [sys.executable, "-c", HOLD, str(tmp_path / "state/draw/level0")]
        env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")} | environment
        process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_second_waits_until_the_first_is_killed(holder):
    first = holder(SLURM_JOB_ID="17")
    assert first.stdout.readline() == "mine\n"
    second = holder()
    assert "level0 is in use by SLURM job 17; waiting until that ends" in second.stdout.readline()
    time.sleep(0.2)
    assert second.poll() is None
    first.kill()
    assert second.stdout.readline() == "mine\n"


def test_one_that_waits_can_be_ended(holder):
    first = holder()
    assert first.stdout.readline() == "mine\n"
    second = holder()
    assert f"in use by process {first.pid} on " in second.stdout.readline()
    second.send_signal(signal.SIGTERM)
    _, error = second.communicate(timeout=20)
    assert second.returncode == 75 and "nothing was done" in error


def test_the_processes_of_one_training_share_it(holder):
    first, second = holder(RANK="0"), holder(RANK="1")
    assert first.stdout.readline() == second.stdout.readline() == "mine\n"
