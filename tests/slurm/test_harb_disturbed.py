"""The tiny `harb` recipe through a real SLURM, with all that happens to a run on a cluster, one after another: its weights and
pixels are those of a run in peace.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from harb import HARB, RUN, SLIDES, last_job, show, since
from safetensors import safe_open

pytestmark = [pytest.mark.slurm, pytest.mark.long]

LONGER = (*HARB, str(Path(__file__).with_name("longer.yaml")))


class Disturbed:
    """A run of a longer training and longer levels in a copy of the finished one, and what is seen of it."""

    def __init__(self, cluster, snakemake, folder: Path):
        self.cluster, self.snakemake, self.folder = cluster, snakemake, folder
        self.before = last_job(cluster)
        self.seen: dict = {}

    def start(self, *arguments: str) -> subprocess.Popen:
        settings = ["train_model:runtime=8", "train_model:slurm_partition=gpu", "draw_level:slurm_partition=gpu"]
        targets = ["--", *(str(RUN / f"synthetic/{slide}.tif") for slide in SLIDES)]
        words = [*LONGER, "--set-resources", *settings, "--slurm-keep-successful-logs", *arguments, *targets]
        return self.snakemake(self.folder, *words, profile="slurm")

    def wait(self, question, timeout_s: float = 600):
        return self.cluster.wait_for(question, timeout_s, every_s=0.1)

    def running(self, rule: str) -> list[str]:
        """Ids of this rule's jobs that SLURM has, in any state but ended."""
        lines = self.cluster.command("squeue", "-h", "-o", "%i %k").splitlines()
        return [line.split()[0] for line in lines if line.split()[1].startswith(f"rule_{rule}")]

    def process(self, script: str, *words: str) -> psutil.Process | None:
        """The process of a script, of this run, with `words` on its command line."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                line = process.cmdline()
                named = len(line) > 1 and line[1].endswith(script) and set(words) <= set(line)
                if named and Path(process.cwd()) == self.folder:
                    return process
        return None

    def drawing(self, slide: str, k: int) -> psutil.Process | None:
        return self.process("draw_level.py", slide, f"{RUN}/synthetic/{slide}/level{k}.h5")

    def held(self, k: int) -> list[psutil.Process]:
        """The processes that draw this level of both slides, each held still after some passes."""
        found: dict[str, psutil.Process] = {}

        def look() -> bool:
            for slide in set(SLIDES) - set(found):
                if self.passes(slide, k) >= 3 and (process := self.drawing(slide, k)):
                    process.suspend()
                    found[slide] = process
            return len(found) == len(SLIDES)

        self.wait(look)
        return [found[slide] for slide in SLIDES]

    def step(self) -> int:
        """Step of the training's checkpoint."""
        for path in self.folder.glob(f"{RUN}/state/train/shared/*/checkpoint.safetensors"):
            with safe_open(path, framework="pt") as file:
                return int(file.metadata()["step"])
        return 0

    def passes(self, slide: str, k: int) -> int:
        """How many passes over the level its journal counts, or that before it, while another is written."""
        found = [0]
        for path in self.folder.glob(f"{RUN}/state/draw/{slide}/level{k}/*/journal.json*"):
            with contextlib.suppress(FileNotFoundError, ValueError):
                found.append(json.loads(path.read_text())["round"])
        return max(found)

    def log(self, job: str) -> str:
        """SLURM's log of a job, through all of its runs."""
        return "".join(path.read_text() for path in self.folder.glob(f".snakemake/slurm_logs/**/{job}.log"))

    def job(self, number: str) -> list[dict]:
        return [job for job in since(self.cluster, self.before) if job["JobIDRaw"] == number]


@pytest.fixture(scope="module")
def reference(finished, tmp_path_factory, root):
    """The same longer run, local and in peace; it is waited for when it is asked for."""
    folder = copy_of(finished[0], tmp_path_factory.mktemp("reference"))
    words = [sys.executable, "-m", "snakemake", "--cores", "1", *LONGER, "--"]
    words += [str(RUN / f"synthetic/{slide}.tif") for slide in SLIDES]
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    with (folder / "local.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    yield folder, process
    if process.poll() is None:
        process.terminate()
        process.wait()


def copy_of(finished: Path, folder: Path) -> Path:
    """The finished run in a new place, to go on from. A level is drawn in less than the half minute after which its state is
    saved, so there it is saved ten times a second."""
    shutil.copytree(finished, folder / "run", symlinks=True)
    shutil.rmtree(folder / "run" / RUN / "state")
    (folder / "run/snakemake.log").unlink()
    (folder / "run" / RUN / "made_from.txt").unlink()  # the longer recipe takes the place of the one that made it
    rule, words = folder / "run/rules/drawing.smk", "--memory-mb {resources.mem_mb}"
    assert words in rule.read_text()
    rule.write_text(rule.read_text().replace(words, f"{words} --save-every 0.1"))
    return folder / "run"


@pytest.fixture(scope="module")
def disturbed(finished, reference, cluster, snakemake, tmp_path_factory) -> Disturbed:
    run = Disturbed(cluster, snakemake, copy_of(finished[0], tmp_path_factory.mktemp("disturbed")))
    seen = run.seen

    # Ctrl-C, while training.
    head = run.start()
    run.wait(lambda: run.step() >= 20)
    seen["interrupted job"] = run.running("train_model")[0]
    head.send_signal(signal.SIGINT)
    seen["interrupted code"] = head.wait(900)
    run.wait(lambda: not run.running(""), 20)
    seen["interrupted at"] = run.step()

    # Started again. The training is held still, if SLURM was not quicker, until its warning has come: at a limit of 8 minutes
    # the 5 minutes' warning comes after two and a half. On a busy machine it takes that long until there is one who hears it.
    head = run.start()
    run.wait(lambda: run.step() >= seen["interrupted at"] + 20 and run.running("train_model"))
    job = seen["warned job"] = run.running("train_model")[0]
    with contextlib.suppress(psutil.NoSuchProcess, AttributeError):  # it was quicker
        trainer = run.process("train_model.py")
        trainer.suspend()
        run.wait(lambda: warned(trainer))
        trainer.resume()
    run.wait(lambda: f"SLURM job {job} is requeued" in run.log(job))
    run.wait(lambda: run.log(job).count("going on from step") > 1)

    # The process is killed.
    trainer = run.wait(lambda: run.step() >= seen["interrupted at"] + 60 and run.process("train_model.py"))
    seen["killed job"], seen["killed at"] = run.running("train_model")[0], run.step()
    trainer.kill()
    run.wait((run.folder / RUN / "models/shared/model.safetensors").exists, 900)

    # Snakemake is killed while both slides are drawn; its jobs are held still until those of the next Snakemake wait for them.
    orphans = run.held(1)
    seen["orphans"] = run.running("draw_level")
    start_of_second = (run.folder / "snakemake.log").stat().st_size
    seen["second code"] = run.start().wait(900)  # before that, one that is not to be there
    seen["second says"] = (run.folder / "snakemake.log").read_text()[start_of_second:]
    head.kill()
    head.wait()
    start_of_locked = (run.folder / "snakemake.log").stat().st_size
    seen["locked code"] = run.start().wait(900)
    seen["locked says"] = (run.folder / "snakemake.log").read_text()[start_of_locked:]
    assert run.start("--unlock").wait(900) == 0
    head = run.start()
    run.wait(lambda: len(run.running("draw_level")) == 4)
    seen["waiting"] = sorted(set(run.running("draw_level")) - set(seen["orphans"]))
    run.wait(lambda: all("waiting until" in run.log(job) for job in seen["waiting"]))
    for process in orphans:
        process.resume()

    # One drawing is cancelled; then the node dies.
    held = run.held(2)
    held[0].resume()
    (job,) = run.running(f"draw_level_wildcards_{SLIDES[0]}_2")
    cluster.command("scancel", job)
    run.wait(lambda: job not in run.running("draw_level"))
    seen["cancelled job"], seen["cancelled at"] = job, run.passes(SLIDES[0], 2)
    run.wait(lambda: run.passes(SLIDES[0], 2) >= seen["cancelled at"] + 3)
    seen["node's jobs"] = {slide: run.running(f"draw_level_wildcards_{slide}_2")[0] for slide in SLIDES}
    cluster.stop_node()
    seen["node died at"] = {slide: run.passes(slide, 2) for slide in SLIDES}
    run.wait(lambda: "down" in cluster.command("sinfo", "-h", "-o", "%T"))
    cluster.start_node()
    seen["last code"] = head.wait(900)
    show(since(cluster, run.before))
    print(seen)
    return run


def warned(process: psutil.Process) -> bool:
    """Whether SIGUSR1 waits for a process that is held still."""
    if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.NoSuchProcess(process.pid)
    status = Path(f"/proc/{process.pid}/status").read_text()
    masks = [int(status.split(f"{name}:")[1].split()[0], 16) for name in ("SigPnd", "ShdPnd")]
    return any(mask >> (signal.SIGUSR1 - 1) & 1 for mask in masks)


def resumed_at(log: str, what: str) -> list[int]:
    """The steps (or passes) at which the runs in a job's log went on."""
    return [int(part.split()[0]) for part in log.split(f"going on from {what} ")[1:]]


def test_the_run_ends_well_with_the_same_weights_and_pixels(disturbed, reference):
    folder, process = reference
    assert disturbed.seen["last code"] == 0, (disturbed.folder / "snakemake.log").read_text()[-6000:]
    assert process.wait(900) == 0, (folder / "local.log").read_text()[-6000:]
    made = ["models/shared/model.safetensors", *(f"synthetic/{slide}.tif" for slide in SLIDES)]
    made += [f"synthetic/{slide}/level{k}.h5" for slide in SLIDES for k in range(3)]
    for name in made:
        assert (disturbed.folder / RUN / name).read_bytes() == (folder / RUN / name).read_bytes(), name


def test_ctrl_c_leaves_no_job_and_loses_no_step(disturbed):
    seen = disturbed.seen
    (job,) = disturbed.job(seen["interrupted job"])
    assert seen["interrupted code"] != 0 and job["State"].startswith("CANCELLED")
    assert resumed_at(disturbed.log(seen["warned job"]), "step")[0] == seen["interrupted at"] > 0


def test_before_its_time_limit_a_training_is_warned_and_goes_on_in_the_same_job(disturbed):
    job = disturbed.seen["warned job"]
    rows, log = disturbed.job(job), disturbed.log(job)
    assert len(rows) > 1 and {row["State"] for row in rows[:-1]} == {"REQUEUED"}
    assert {(row["TimelimitRaw"], row["tres"]["mem"]) for row in rows} == {("8", rows[0]["tres"]["mem"])}
    stopped = [int(step) for step in re.findall(rf"step (\d+): stopped on request.*job {job} is requeued", log)]
    assert stopped and resumed_at(log, "step")[1 : len(stopped) + 1] == stopped


def test_a_killed_training_is_submitted_again_with_more_memory(disturbed):
    killed, at = disturbed.seen["killed job"], disturbed.seen["killed at"]
    trainings = [job for job in since(disturbed.cluster, disturbed.before) if "train_model" in job["Comment"]]
    row, again = disturbed.job(killed)[-1], next(job for job in trainings if int(job["JobIDRaw"]) > int(killed))
    assert row["State"] == "FAILED"
    memory = [int(job["tres"]["mem"].removesuffix("M")) for job in (row, again)]
    assert memory[1] == 2 * memory[0]
    assert resumed_at(disturbed.log(again["JobIDRaw"]), "step")[0] >= at


def test_two_snakemakes_in_one_folder(disturbed):
    assert disturbed.seen["second code"] == 1
    assert "Please make sure that no other Snakemake process" in disturbed.seen["second says"]


def test_a_killed_snakemake_leaves_a_lock_and_the_remedy_is_said(disturbed):
    assert disturbed.seen["locked code"] == 1
    assert "likely caused by a kill signal" in disturbed.seen["locked says"]
    assert "--unlock" in disturbed.seen["locked says"]


def test_jobs_that_a_killed_snakemake_left_are_waited_for(disturbed):
    """They end their work; the next Snakemake's jobs take it over and do nothing twice."""
    seen = disturbed.seen
    for orphan in seen["orphans"]:
        assert [row["State"] for row in disturbed.job(orphan)] == ["COMPLETED"]
    for job in seen["waiting"]:
        assert [row["State"] for row in disturbed.job(job)] == ["COMPLETED"]
        log = disturbed.log(job)
        assert any(f"is in use by SLURM job {orphan}; waiting" in log for orphan in seen["orphans"])
        assert "was finished meanwhile" in log


def test_a_cancelled_drawing_goes_on(disturbed):
    seen = disturbed.seen
    (row,) = disturbed.job(seen["cancelled job"])
    assert row["State"].startswith("CANCELLED")
    assert resumed_at(disturbed.log(seen["node's jobs"][SLIDES[0]]), "pass")[0] == seen["cancelled at"]


def test_drawings_whose_node_died_go_on_in_the_same_job(disturbed):
    for slide, job in disturbed.seen["node's jobs"].items():
        assert [row["State"] for row in disturbed.job(job)] == ["NODE_FAIL", "COMPLETED"]
        assert resumed_at(disturbed.log(job), "pass")[-1] >= disturbed.seen["node died at"][slide] > 0
