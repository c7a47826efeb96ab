"""What a site sets reaches SLURM; what a site got wrong is said in SLURM's own words, with the rule."""

import shutil

import pytest
import yaml

from histogenesis.provenance.site import questions

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SNAKEFILE = """
rule train_model:
    output: "out.txt"
    log: "train.log"
    resources: gpu=1
    shell: "echo $CUDA_VISIBLE_DEVICES > {output} 2> {log}"


include: "ROOT/rules/site.smk"
"""


@pytest.fixture
def folder(tmp_path, root):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("ROOT", str(root)))
    shutil.copytree(root / "slurm", tmp_path / "slurm")
    return tmp_path


def last_job(cluster) -> dict:
    return max(cluster.jobs(), key=lambda job: int(job["JobIDRaw"]))


def test_site_values_reach_slurm_and_a_second_profile_wins(cluster, snakemake, folder):
    """`--profile slurm`, by that name, in the folder that holds it."""
    (folder / "site").mkdir()
    resources = {"slurm_partition": "'cpu'", "gpu_partition": "'gpu'", "runtime": 33, "mem_mb": 700}
    site = {"default-resources": resources}
    (folder / "site/config.yaml").write_text(yaml.safe_dump(site))
    assert snakemake(folder, profile="slurm").wait(900) == 0, (folder / "snakemake.log").read_text()
    job = last_job(cluster)
    assert (job["Partition"], job["TimelimitRaw"], job["tres"]["mem"], job["tres"]["gres/gpu"]) == (
        "gpu",
        "60",
        "2000M",
        "1",
    )
    assert (folder / "out.txt").read_text().strip() in {"0", "1", "2", "3"}

    (folder / "out.txt").unlink()
    assert snakemake(folder, "--workflow-profile", "site", profile="slurm").wait(900) == 0
    job = last_job(cluster)
    assert (job["Partition"], job["TimelimitRaw"], job["tres"]["mem"]) == ("gpu", "33", "700M")


def test_histogenesis_site_reads_what_this_slurm_says(cluster):
    cluster.command("sacctmgr", "-i", "add", "qos", "few", "set", "MaxSubmitJobsPerUser=5", check=False)
    cluster.command("scontrol", "update", "PartitionName=cpu", "QoS=few", "AllowGroups=nobody_here")
    try:
        answers = questions()
    finally:
        cluster.command("scontrol", "update", "PartitionName=cpu", "QoS=", "AllowGroups=ALL")
    cpu, gpu = answers.partitions
    assert (cpu.name, cpu.up, cpu.minutes, cpu.gpus, cpu.qos) == ("cpu", False, 1440, {}, "few")
    assert (gpu.name, gpu.up, gpu.gpus, gpu.qos) == ("gpu", True, {"fake": 4}, "")
    assert (answers.qos, answers.gpus_by_gres, answers.min_job_age_s) == ({"few": 5}, False, 600)


@pytest.mark.parametrize(
    "resource, words",
    [
        ("slurm_partition=nowhere", "invalid partition"),
        ("runtime=9999", "time limit"),
        ("mem_mb=99999999", "Memory specification can not be satisfied"),
        ("gpu=99", "Requested node configuration is not available"),
    ],
)
def test_slurm_says_what_is_wrong_and_the_rule_is_named(cluster, snakemake, folder, resource, words):
    partition = "" if "partition" in resource else "train_model:slurm_partition=gpu"
    settings = [text for text in (f"train_model:{resource}", partition) if text]
    assert snakemake(folder, "--retries", "0", "--set-resources", *settings, profile="slurm").wait(900) == 1
    text = (folder / "snakemake.log").read_text()
    assert words.lower() in text.lower() and "rule train_model" in text


@pytest.mark.long
def test_a_profile_without_partition(cluster, snakemake, folder):
    """SLURM's default partition is taken; where there is none the message says so, with the remedy and the rule."""
    snakefile = folder / "Snakefile"
    snakefile.write_text(snakefile.read_text().replace("$CUDA_VISIBLE_DEVICES", "${{CUDA_VISIBLE_DEVICES:-none}}"))
    no_gpu = ("--set-resources", "train_model:gpu=0")  # the default partition has none
    profile = yaml.safe_load((folder / "slurm/config.yaml").read_text())
    del profile["default-resources"]["slurm_partition"], profile["default-resources"]["gpu_partition"]
    (folder / "slurm/config.yaml").write_text(yaml.safe_dump(profile))
    assert snakemake(folder, *no_gpu, profile="slurm").wait(900) == 0, (folder / "snakemake.log").read_text()
    assert last_job(cluster)["Partition"] == "cpu"

    (folder / "out.txt").unlink()
    cluster.command("scontrol", "update", "PartitionName=cpu", "Default=NO")
    try:
        assert snakemake(folder, "--retries", "0", *no_gpu, profile="slurm").wait(900) == 1
    finally:
        cluster.command("scontrol", "update", "PartitionName=cpu", "Default=YES")
    text = (folder / "snakemake.log").read_text()
    assert "No partition was given for rule 'train_model'" in text and "--default-resources 'slurm_partition=" in text
    assert "No partition specified or system default partition" in text  # SLURM's own words
