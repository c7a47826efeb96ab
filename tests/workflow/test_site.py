"""What the profile of a cluster makes of each recipe's steps, without a cluster; and what is made of SLURM's answers."""

import asyncio
import logging
import re
import runpy
from types import SimpleNamespace

import pytest

from .test_studies import kaggle, tiles

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize("name", ["harb", "urcdm", "son", "diffusion4path", "latent"])
def test_every_step_goes_where_its_gpu_is(name, finished_nothing, root):
    """The literal profile, and a partition that grants two hours."""
    kaggle(finished_nothing.folder / "pcam")
    tiles(finished_nothing.folder / "tiles")
    limits = ["slurm_partition='cpu'", "gpu_partition='gpu'", "max_runtime=90", "gpu_max_runtime=120", "runtime=60"]
    done = finished_nothing.run(
        f"config/test/{name}.yaml",
        "--profile",
        str(root / "slurm"),
        "--sdm",
        "env-modules",
        "--dry-run",
        "--default-resources",
        *limits,
    )
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", done.stdout + done.stderr, re.MULTILINE)
    asked = {}
    for rule, text in jobs:
        words = dict(word.split("=", 1) for word in re.search(r"resources: (.*)", text)[1].split(", "))
        asked.setdefault(rule, set()).add(
            (int(words.get("gpu", 0)) > 0, words["slurm_partition"], int(words["runtime"]))
        )
    found = {one for several in asked.values() for one in several}
    assert {(gpu, partition) for gpu, partition, _ in found} == {(True, "gpu"), (False, "cpu")}, asked
    assert all(minutes <= (120 if gpu else 90) for gpu, _, minutes in found), asked


@pytest.fixture
def finished_nothing(root, tmp_path):
    from .conftest import Run

    return Run(root, tmp_path)


# ------------------------------------------------------------------------------------------------ SLURM's answers


@pytest.fixture
def module(root, monkeypatch):
    """What rules/slurm.smk defines; this process's plugin is left as it is."""
    import snakemake_executor_plugin_slurm as plugin

    monkeypatch.setattr(plugin.Executor, "asks_for_states", True, raising=False)
    return runpy.run_path(str(root / "rules/slurm.smk"))


def states_of(module, answers: dict[str, list], logs: dict):
    """A States with jobs 1, 2 whose SLURM gives these answers, one after the other, to squeue and sacct."""

    async def query(command, logger):
        given = answers[command.split()[0]].pop(0)
        return (None, None) if given is None else (given, 0.1)

    states = module["States"](None, query)
    states.jobs = {job: SimpleNamespace(aux={"slurm_logfile": log}) for job, log in logs.items()}
    return states


def ask(states):
    return asyncio.run(states.ask("squeue --name x", logging.getLogger()))[0]


def test_accountings_words_for_a_cancelled_job_are_understood(module):
    states = states_of(module, {"squeue": [{"1": "CANCELLED by 0", "2": "RUNNING"}]}, {"1": None, "2": None})
    assert ask(states) == {"1": "CANCELLED", "2": "RUNNING"}


def test_a_forgotten_job_is_asked_of_accounting_and_then_of_its_log(module, tmp_path):
    done, broken = tmp_path / "1.log", tmp_path / "2.log"
    done.write_text("...\n1 of 1 steps (100%) done\n")
    broken.write_text("Killed\n")
    gone = {"squeue": [{}, {}], "sacct": [None]}
    states = states_of(module, gone, {"1": done, "2": broken})
    assert ask(states) == {}, "once may be chance: it may not have been listed yet"
    assert ask(states) == {"1": "COMPLETED", "2": "FAILED"}
    states = states_of(
        module, {"squeue": [{}, {}], "sacct": [{"1": "TIMEOUT", "2": "COMPLETED"}]}, {"1": done, "2": broken}
    )
    ask(states)
    assert ask(states) == {"1": "TIMEOUT", "2": "COMPLETED"}


def test_a_slurm_that_does_not_answer_ends_no_job(module):
    states = states_of(module, {"squeue": [{}, None, {"1": "RUNNING"}, {}], "sacct": []}, {"1": None})
    assert [ask(states), ask(states), ask(states), ask(states)] == [{}, None, {"1": "RUNNING"}, {}]


@pytest.mark.parametrize(
    "words, waits",
    [
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates", True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: error: invalid partition specified: nowhere", False),
        ("sbatch: error: Batch job submission failed: Requested time limit is invalid", False),
        ("sbatch: error: Memory specification can not be satisfied", False),
    ],
)
@pytest.mark.parametrize("grouped", [True, False])
def test_what_may_pass_is_told_from_what_is_wrong(module, words, waits, grouped, caplog):
    """Of a group Snakemake says that it failed and not why, so SLURM's words are logged for it, once it is given up."""
    told, submitted, globals_ = [], [], module["refused"].__globals__
    globals_["PAUSE_S"] = 0
    executor = SimpleNamespace(
        logger=logging.getLogger(),
        run_job=None,
        _job_submission_executor=SimpleNamespace(submit=lambda run, job: submitted.append(job)),
    )
    report = module["refused"](lambda self, info, msg: told.append(msg))
    report(
        executor,
        SimpleNamespace(job=SimpleNamespace(name="x", is_group=lambda: grouped)),
        f"SLURM sbatch failed. The error message was '{words}'.",
    )
    assert (len(submitted), len(told)) == ((1, 0) if waits else (0, 1))
    assert any(words in line for line in caplog.messages) == (grouped and not waits)
