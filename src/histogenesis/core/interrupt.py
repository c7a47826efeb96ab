"""Stopping long work politely, and going on with it: a job that ran out of time has not failed.

SLURM warns a job before its time limit (`--signal=USR1@300`, see slurm/config.yaml). The work saves its state, puts its own
job back into SLURM's queue (`scontrol requeue`) and ends. The job keeps its id, memory and time limit, and its Snakemake,
which polls that id, only sees a job that waits and runs again: as often as needed, and no retry is used up.

SIGTERM is somebody's wish that the job ends (scancel, Ctrl-C, preemption): the state is saved, and nothing is requeued.

A Snakemake that was killed leaves its jobs running. Started again it submits them anew: `hold` makes the second wait.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from histogenesis.core.files import holder, lock

EXIT_CODE = 75  # EX_TEMPFAIL: the state is saved; run the same command again to go on


class Stopped(Exception):
    """The work was asked to stop, and has saved its state: at least one unit of work further than it began."""


class StopRequest:
    """True once SIGTERM or SIGUSR1 has come. Loops ask it *after* each unit of work, so that every run gets further."""

    came: int | None = None  # the last signal of the process, whichever object took it

    def __init__(self, signals: tuple[int, ...] = (signal.SIGTERM, signal.SIGUSR1)):
        self.asked = False
        for number in signals:
            signal.signal(number, self._ask)

    def _ask(self, signum, frame):
        self.asked = True
        StopRequest.came = signum

    def __bool__(self) -> bool:
        return self.asked


def end_stopped(stopped: Stopped) -> None:
    """End the process after `Stopped`: exit code 75, the job requeued if it was SLURM that warned it. Does not return."""
    print(f"{stopped}; {continuation()}", file=sys.stderr, flush=True)
    sys.exit(EXIT_CODE)


def hold(state: Path, ask_every_s: float = 2.0) -> None:
    """Have the state folder to oneself until this process ends, however it ends; waits while another process has it.

    The lock is the kernel's, on the file `{state}.lock` beside the folder, so a killed process leaves none behind. It holds
    between nodes where the file system has such locks (NFS 4, Lustre with -o flock, GPFS); where it has none, says so
    and goes on. Asked to stop while it waits, it ends like work that was stopped.
    """
    if os.environ.get("RANK", "0") != "0":  # of several processes the first holds it for all
        return
    path = state.with_name(state.name + ".lock")
    job, stop = os.environ.get("SLURM_JOB_ID"), None
    try:
        while not lock(path, f"SLURM job {job}" if job else ""):
            if stop is None:
                stop = StopRequest()
                print(f"{state} is in use by {holder(path)}; waiting until that ends", flush=True)
            if stop:
                end_stopped(Stopped(f"{state} was in use by another process all the time; nothing was done"))
            time.sleep(ask_every_s)
    except OSError as error:
        print(f"{path}: no locks here ({error.strerror}): make sure that no other process works there", flush=True)


def continuation() -> str:
    """Requeue the job where that is due; says in words what happens next."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or StopRequest.came != signal.SIGUSR1:
        return "run the same command again to go on"
    if "RANK" in os.environ:  # core/launch.py, which started several processes, does it when all have ended
        return f"SLURM job {job} is requeued when all its processes have saved"
    try:
        asked = subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True, text=True, timeout=60)
        problem = asked.stderr.strip() if asked.returncode else ""
    except (OSError, subprocess.SubprocessError) as error:
        problem = str(error)
    if problem:
        return f"SLURM job {job} could not be requeued ({problem}), so it counts as failed and is tried again"
    return f"SLURM job {job} is requeued, and goes on with the same memory and time"
