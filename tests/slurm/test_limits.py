"""A site's own limits: few submissions at a time, a controller that does not answer, GPUs by --gres, a node without any."""

import re
import time

import pytest
import yaml

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.long]

SNAKEFILE = """
rule all:
    input: expand("{{n}}.done", n=range({count}))

rule work:
    output: "{{n}}.done"
    log: "{{n}}.log"
    resources: runtime=30, mem_mb=lambda w, attempt: 400 * attempt, gpu={gpu}
    shell: "echo $SLURMD_NODENAME ${{{{CUDA_VISIBLE_DEVICES:-}}}} > {{output}} 2> {{log}}"


include: "{root}/rules/retries.smk"
include: "{root}/rules/site.smk"
include: "{root}/rules/slurm.smk"
PAUSE_S = 3
"""


@pytest.fixture
def start(cluster, snakemake, tmp_path, root):
    """Start so many jobs; returns the process, and a function that gives the jobs that SLURM then had."""

    def start(count: int, gpu: int = 0, **resources: str | int):
        (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=root, count=count, gpu=gpu))
        profile = yaml.safe_load((root / "slurm/config.yaml").read_text())
        profile["default-resources"] |= resources
        (tmp_path / "site").mkdir()
        (tmp_path / "site/config.yaml").write_text(yaml.safe_dump(profile))
        before = max((int(job["JobIDRaw"]) for job in cluster.jobs()), default=0)

        def new() -> list[dict]:
            return [job for job in cluster.jobs() if int(job["JobIDRaw"]) > before]

        return snakemake(tmp_path, profile=tmp_path / "site"), new

    return start


def said(folder) -> str:
    return (folder / "snakemake.log").read_text()


def test_what_is_refused_for_now_waits_and_costs_no_retry(cluster, start, tmp_path):
    with cluster.settings(AccountingStorageEnforce="associations,limits"):
        cluster.command("sacctmgr", "-i", "add", "account", "lab", check=False)
        cluster.command("sacctmgr", "-i", "add", "user", "root", "account=lab", check=False)
        cluster.command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=3", "DefaultAccount=lab")
        process, new = start(8)
        assert process.wait(900) == 0, said(tmp_path)
        jobs = new()
    assert len(jobs) == 8 and {job["tres"]["mem"] for job in jobs} == {"400M"}, "once each, with the first try's memory"
    assert "MaxSubmitJob" in said(tmp_path), "some were refused"


def test_a_controller_that_is_away_when_jobs_are_submitted(cluster, start, tmp_path):
    cluster.stop_controller()
    try:
        process, new = start(2)
        deadline = time.monotonic() + 120
        while "takes no job" not in said(tmp_path):
            assert process.poll() is None and time.monotonic() < deadline, said(tmp_path)
            time.sleep(0.5)
    finally:
        cluster.start_controller()
    assert process.wait(900) == 0, said(tmp_path)
    assert {job["tres"]["mem"] for job in new()} == {"400M"}


def test_stopped_while_it_waits_snakemake_ends_and_submits_nothing(cluster, start, tmp_path):
    import signal

    with cluster.settings(AccountingStorageEnforce="associations,limits"):
        cluster.command("sacctmgr", "-i", "add", "account", "lab", check=False)
        cluster.command("sacctmgr", "-i", "add", "user", "root", "account=lab", check=False)
        cluster.command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=0")
        process, new = start(3)
        cluster.wait_for(lambda: "takes no job" in said(tmp_path), 120)
        process.send_signal(signal.SIGINT)
        assert process.wait(900) != 0
        cluster.command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=-1")
        assert new() == []


@pytest.mark.parametrize("flag", ["gpus", "gres"])
def test_a_step_with_a_gpu_finds_the_node_that_has_one(flag, cluster, start, tmp_path):
    process, new = start(1, gpu=1, **({"gpu_flag": "'gres'"} if flag == "gres" else {}))
    assert process.wait(900) == 0, said(tmp_path)
    node, gpu = (tmp_path / "0.done").read_text().split()
    assert node == "withgpus" and gpu in "0123"
    assert [job["Partition"] for job in new()] == ["gpu"]


def test_a_step_without_a_gpu_does_not_take_the_node_of_those_who_need_one(cluster, start, tmp_path):
    process, new = start(1)
    assert process.wait(900) == 0, said(tmp_path)
    assert (tmp_path / "0.done").read_text().split() == ["plain"] and [job["Partition"] for job in new()] == ["cpu"]


def test_a_partition_that_grants_less_gets_jobs_that_ask_for_less(cluster, start, tmp_path):
    cluster.command("scontrol", "update", "PartitionName=cpu", "MaxTime=20")
    try:
        process, new = start(1, max_runtime=20)
        assert process.wait(900) == 0, said(tmp_path)
    finally:
        cluster.command("scontrol", "update", "PartitionName=cpu", "MaxTime=1440")
    assert [job["TimelimitRaw"] for job in new()] == ["20"]


@pytest.mark.parametrize("age", [60, 300])
def test_states_are_asked_before_slurm_forgets(age, cluster, root, tmp_path):
    """The longest pause between two questions, as rules/slurm.smk works it out from this SLURM's own word."""
    import runpy

    with cluster.settings(MinJobAge=age):
        shown = re.search(r"MinJobAge\s*=\s*(\d+)", cluster.command("scontrol", "show", "config"))
        assert int(shown[1]) == age
        import snakemake_executor_plugin_slurm as plugin

        plugin.Executor.asks_for_states = True  # nothing is patched in this process
        try:
            assert runpy.run_path(str(root / "rules/slurm.smk"))["longest_pause_s"]() == age // 3
        finally:
            del plugin.Executor.asks_for_states
