"""Jobs that end in every way there is, in one run of the real profile: which of them go on, which try again, which do not.

The workflow is a small one of its own; it includes the repository's rules/retries.smk and uses histogenesis.core.interrupt.
"""

import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SNAKEFILE = """
from pathlib import Path
include: "{root}/rules/retries.smk"

KINDS = "plain pair warned shared overtime killed hungry refused cancelled".split()

rule all:
    input: expand("{{kind}}.txt", kind=KINDS)

rule plain:
    output: "plain.txt"
    log: "logs/plain.log"
    resources: runtime=7, mem_mb=450
    threads: 3
    shell: "python work.py plain {{output}} 2>&1 | tee {{log}}"

rule endings:
    output: "{{kind,pair|warned|shared|overtime|killed|hungry|refused|cancelled}}.txt"
    log: "logs/{{kind}}.log"
    resources:
        gpu=lambda w: 2 if w.kind == "pair" else 0,
        slurm_partition=lambda w: "gpu" if w.kind == "pair" else "cpu",
        runtime=lambda w, attempt: {{"warned": 2, "shared": 2, "overtime": 1}}.get(w.kind, 9) if attempt == 1 else 9,
        mem_mb=lambda w, attempt: 500 * attempt,
        slurm_extra=lambda w: "--open-mode=append" + (" --signal=USR1@60" if w.kind in ("warned", "shared") else ""),
    params: launch=lambda w: "-m histogenesis.core.launch 2" if w.kind == "shared" else ""
    shell: "exec python {{params.launch}} work.py {{wildcards.kind}} {{output}} > {{log}} 2>&1"
"""

WORK = """
import os, signal, sys, time
from pathlib import Path
from histogenesis.core.interrupt import Stopped, StopRequest, end_stopped


def unit(state):
    time.sleep(1)
    with state.open("a") as file:
        file.write(".")


def work(kind, out):
    rank = os.environ.get("RANK", "")
    state, units = Path(f"{kind}{rank}.state"), {"warned": 75, "shared": 75, "overtime": 60}.get(kind, 12)
    done = len(state.read_text()) if state.exists() else 0
    with open("history", "a") as history:
        history.write(f"{kind}{rank} {done}\\n")
    stop = StopRequest() if kind != "overtime" else False
    try:
        for n in range(done, units):
            unit(state)
            if kind == "refused":
                sys.exit("error: slide a.svs has no mpp: give the column mpp")
            if n == 5 and done == 0:
                if kind == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                if kind == "hungry":
                    memory = bytearray(800 << 20)
                    for at in range(0, len(memory), 4096):
                        memory[at] = 1
                    time.sleep(30)
            if stop:
                time.sleep(8 if rank == "1" else 2)  # saving takes a while
                Path(f"{kind}{rank}.saved").touch()
                raise Stopped(f"unit {n + 1}")
    except Stopped as stopped:
        end_stopped(stopped)
    if rank in ("", "0"):
        out.write_text(state.read_text())


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
"""


class Run:
    def __init__(self, folder: Path, jobs: list[dict], seconds: float, returncode: int):
        self.folder, self.jobs, self.seconds, self.returncode = folder, jobs, seconds, returncode
        self.text = (folder / "snakemake.log").read_text()

    def of(self, kind: str) -> list[dict]:
        rule = "rule_plain" if kind == "plain" else f"rule_endings_wildcards_{kind}"
        return [job for job in self.jobs if job["Comment"] == rule]

    def starts(self, kind: str) -> list[int]:
        """How far the state was, each time that the script began."""
        lines = (self.folder / "history").read_text().splitlines()
        return [int(line.split()[1]) for line in lines if line.split()[0] == kind]


@pytest.fixture(scope="module")
def run(cluster, snakemake, tmp_path_factory, root) -> Run:
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "Snakefile").write_text(SNAKEFILE.format(root=root))
    (folder / "work.py").write_text(WORK)
    started = time.monotonic()
    process = snakemake(folder)
    cluster.wait_for((folder / "cancelled.state").exists)
    cluster.command("scancel", cluster.queued()["rule_endings_wildcards_cancelled"])
    returncode = process.wait(900)
    result = Run(folder, cluster.jobs(duplicates=True), time.monotonic() - started, returncode)
    for job in result.jobs:
        print(
            {
                key: job[key]
                for key in ("JobIDRaw", "Comment", "State", "ExitCode", "AllocTRES", "TimelimitRaw", "Start", "End")
            }
        )
    return result


def test_resources_are_what_slurm_gave(run):
    (plain,), (pair,) = run.of("plain"), run.of("pair")
    assert (plain["Partition"], plain["TimelimitRaw"], plain["State"]) == ("cpu", "7", "COMPLETED")
    assert plain["tres"]["mem"] == "450M" and plain["tres"]["cpu"] == "3" and "gres/gpu" not in plain["tres"]
    assert (pair["Partition"], pair["tres"]["gres/gpu"]) == ("gpu", "2")


def test_a_warned_job_goes_on_in_the_same_job(run):
    """The same id, memory and time each time; nothing of the work is done twice; Snakemake sees no failure."""
    rows = run.of("warned")
    assert len({row["JobIDRaw"] for row in rows}) == 1 and len(rows) > 1
    assert [row["State"] for row in rows] == ["REQUEUED"] * (len(rows) - 1) + ["COMPLETED"]
    assert {(row["tres"]["mem"], row["TimelimitRaw"]) for row in rows} == {("500M", "2")}
    starts = run.starts("warned")
    assert starts[0] == 0 and starts == sorted(set(starts)) and len(starts) == len(rows)
    assert (run.folder / "warned.txt").read_text() == "." * 75


def test_a_warned_job_of_two_processes_goes_on_when_both_have_saved(run):
    """SLURM's warning reaches what started them, too: it lives on, and asks for the job again when both have ended."""
    rows = run.of("shared")
    assert len({row["JobIDRaw"] for row in rows}) == 1 and len(rows) > 1
    assert [row["State"] for row in rows] == ["REQUEUED"] * (len(rows) - 1) + ["COMPLETED"]
    for rank in "01":
        starts = run.starts(f"shared{rank}")
        assert starts[0] == 0 and starts == sorted(set(starts)) and len(starts) == len(rows)
        assert (run.folder / f"shared{rank}.state").read_text() == "." * 75


@pytest.mark.parametrize("kind", ["warned", "shared0", "shared1", "cancelled"])
def test_there_is_time_to_save(run, kind):
    """Though Snakemake and the shell get the signals too: the rule's `exec` leaves no shell that would die of them."""
    assert (run.folder / f"{kind}.saved").exists()


@pytest.mark.parametrize(
    "kind, state",
    [("overtime", "TIMEOUT"), ("killed", "FAILED"), ("hungry", "FAILED|OUT_OF_MEMORY"), ("cancelled", "CANCELLED")],
)
def test_a_failure_is_submitted_again_with_more_memory_and_resumes(run, kind, state):
    first, second = run.of(kind)
    assert any(first["State"].startswith(word) for word in state.split("|"))
    assert (first["tres"]["mem"], second["tres"]["mem"], second["State"]) == ("500M", "1000M", "COMPLETED")
    assert first["JobIDRaw"] != second["JobIDRaw"]
    starts = run.starts(kind)
    assert len(starts) == 2 and starts[0] == 0 and starts[1] > 0
    assert (run.folder / f"{kind}.txt").read_text() == "." * (60 if kind == "overtime" else 12)


def test_refused_input_is_not_tried_again(run):
    (only,) = run.of("refused")
    assert only["State"] == "FAILED"
    assert run.returncode == 1 and not (run.folder / "refused.txt").exists()


def test_the_message_leads_to_the_log(run):
    assert "error: slide a.svs has no mpp" in run.text  # show-failed-logs
    assert "logs/refused.log" in run.text
    log = next((run.folder / ".snakemake/slurm_logs/rule_endings/refused").iterdir())
    assert str(log) in run.text and "logs/refused.log" in log.read_text()


def test_what_does_not_depend_on_a_failure_goes_on(run):
    done = {path.stem for path in run.folder.glob("*.txt")}
    assert done == {"plain", "pair", "warned", "shared", "overtime", "killed", "hungry", "cancelled"}


NODE = """
include: "{root}/rules/retries.smk"

rule work:
    output: "out.txt"
    log: "logs/work.log"
    resources: runtime=9, mem_mb=500
    shell: "exec python work.py node {{output}} > {{log}} 2>&1"
"""


def test_a_job_whose_node_died_goes_on_when_there_is_a_node(cluster, snakemake, tmp_path, root):
    (tmp_path / "Snakefile").write_text(NODE.format(root=root))
    (tmp_path / "work.py").write_text(WORK)
    process = snakemake(tmp_path)
    cluster.wait_for(lambda: (tmp_path / "node.state").exists() and len((tmp_path / "node.state").read_text()) > 3)
    number = cluster.queued()["rule_work"]
    cluster.stop_node()
    cluster.wait_for(lambda: "down" in cluster.command("sinfo", "-h", "-o", "%T"))
    cluster.start_node()
    assert process.wait(900) == 0, (tmp_path / "snakemake.log").read_text()
    states = [job["State"] for job in cluster.jobs(duplicates=True) if job["JobIDRaw"] == number]
    assert states == ["NODE_FAIL", "COMPLETED"]
    assert "Trying to restart" not in (tmp_path / "snakemake.log").read_text()
    starts = [int(line.split()[1]) for line in (tmp_path / "history").read_text().splitlines()]
    assert len(starts) == 2 and starts[1] >= 3
    assert (tmp_path / "out.txt").read_text() == "." * 12
