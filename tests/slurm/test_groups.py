"""The short steps of many slides, with the literal profile: few queue entries of bounded size, tried again as a whole."""

import pytest
import yaml

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

# Two of the rules that slurm/config.yaml groups. A slide's tissue step fails as the slide's name says.
SNAKEFILE = """
include: "{root}/rules/retries.smk"

SLIDES = {slides}

rule all:
    input: expand("{{slide}}.tissue", slide=SLIDES)

rule register_slide:
    output: "{{slide}}.json"
    resources: runtime=3, mem_mb=lambda w, attempt: 500 * attempt
    shell: "touch {{output}}"

rule segment_tissue:
    input: "{{slide}}.json"
    output: "{{slide}}.tissue"
    log: "{{slide}}.log"
    resources: runtime=7, mem_mb=lambda w, attempt: 500 * attempt
    shell:
        "echo try >> {{wildcards.slide}}.tries; "
        "case {{wildcards.slide}} in "
        "refused) echo 'error: refused.svs has no mpp' > {{log}}; exit 1;; "
        "crashing) test $(grep -c try {{wildcards.slide}}.tries) -gt 1 || kill -9 $$;; "
        "esac; touch {{output}}"


include: "{root}/rules/site.smk"
include: "{root}/rules/slurm.smk"
"""


def groups(cluster, before: int) -> list[dict]:
    jobs = [job for job in cluster.jobs(duplicates=True) if int(job["JobIDRaw"]) > before]
    assert all(job["Comment"] == "rule_slides_register_slide_segment_tissue" for job in jobs)
    return jobs


@pytest.fixture
def run(cluster, snakemake, tmp_path, root):
    """Run the workflow on slides; returns Snakemake's exit code and the jobs that SLURM had."""

    def run(slides: list[str], **resources: int) -> tuple[int, list[dict]]:
        (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=root, slides=slides))
        profile = yaml.safe_load((root / "slurm/config.yaml").read_text())
        profile["default-resources"] |= resources
        (tmp_path / "slurm").mkdir()
        (tmp_path / "slurm/config.yaml").write_text(yaml.safe_dump(profile))
        before = max((int(job["JobIDRaw"]) for job in cluster.jobs()), default=0)
        code = snakemake(tmp_path, profile="slurm").wait(900)
        return code, groups(cluster, before)

    return run


@pytest.mark.long
def test_many_slides_are_few_jobs_and_a_crash_is_tried_again_with_more_memory(run, tmp_path):
    slides = [*(f"s{n:02}" for n in range(17)), "crashing"]
    code, jobs = run(slides)
    assert code == 0, (tmp_path / "snakemake.log").read_text()[-4000:]
    assert sorted(path.stem for path in tmp_path.glob("*.tissue")) == sorted(slides)
    assert sorted(job["State"] for job in jobs) == [
        "COMPLETED",
        "COMPLETED",
        "FAILED",
    ]  # 16 slides and 2, one of them twice
    (failed,) = (job for job in jobs if job["State"] == "FAILED")
    again = max(jobs, key=lambda job: int(job["JobIDRaw"]))
    size = {
        "16 slides": ("4", "2000M", "40"),
        "2 slides": ("2", "1000M", "10"),
    }  # four, or two, at once: CPUs, memory, minutes
    first = (failed["tres"]["cpu"], failed["tres"]["mem"], failed["TimelimitRaw"])
    assert first in size.values()
    assert (again["tres"]["cpu"], again["tres"]["mem"]) == (first[0], f"{2 * int(first[1].removesuffix('M'))}M")
    assert {(job["tres"]["cpu"], job["tres"]["mem"], job["TimelimitRaw"]) for job in jobs if job is not again} <= set(
        size.values()
    )


def test_a_group_with_refused_input_is_not_tried_again(run, tmp_path):
    code, jobs = run(["fine", "refused"])
    assert code == 1
    assert [job["State"] for job in jobs] == ["FAILED"]
    assert (tmp_path / "refused.tries").read_text() == "try\n"
    assert (
        "error: refused.svs has no mpp"
        in (tmp_path / "snakemake.log").read_text() + (tmp_path / "refused.log").read_text()
    )


def test_a_group_asks_for_no_more_minutes_than_its_partition_grants(cluster, run, tmp_path):
    """Nine slides, four at once, are three times ten minutes."""
    cluster.command("scontrol", "update", "PartitionName=cpu", "MaxTime=20")
    try:
        code, jobs = run([f"s{n}" for n in range(9)], max_runtime=20)
    finally:
        cluster.command("scontrol", "update", "PartitionName=cpu", "MaxTime=1440")
    assert code == 0, (tmp_path / "snakemake.log").read_text()[-4000:]
    assert [(job["State"], job["TimelimitRaw"]) for job in jobs] == [("COMPLETED", "20")]


def test_why_slurm_refuses_a_group_is_said(cluster, run, tmp_path):
    """In SLURM's own words: ten minutes are more than this partition grants."""
    cluster.command("scontrol", "update", "PartitionName=cpu", "MaxTime=5")
    try:
        code, jobs = run(["s"])
    finally:
        cluster.command("scontrol", "update", "PartitionName=cpu", "MaxTime=1440")
    assert (code, jobs) == (1, [])
    assert "Requested time limit is invalid" in (tmp_path / "snakemake.log").read_text()
