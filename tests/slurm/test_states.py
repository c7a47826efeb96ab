"""Snakemake as a user starts it, on a SLURM that soon forgets: the pauses between its questions are those of rules/slurm.smk.

Everywhere else in this folder they are two seconds (quick_snakemake.py).
"""

import re

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.long]

SNAKEFILE = """
rule all:
    input: "lasts.done", "cancelled.done"

rule lasts:
    output: "lasts.done"
    log: "lasts.log"
    resources: runtime=30
    shell: "sleep {seconds} 2> {{log}} && touch {{output}}"

rule cancelled:
    output: "cancelled.done"
    log: "cancelled.log"
    resources: runtime=30
    shell: "if mkdir tried 2> {{log}}; then exec sleep 600; fi; touch {{output}}"


include: "{root}/rules/retries.smk"
include: "{root}/rules/slurm.smk"
"""


@pytest.mark.parametrize("age, seconds, least", [(60, 240, 7), (15, 90, 7)])
def test_a_job_that_lasts_and_one_that_is_cancelled(age, seconds, least, cluster, snakemake, tmp_path, root):
    """Unpatched, Snakemake would ask at most six times in 240 s, and four times in 90 s, each pause 10 s longer than the last.

    Below 60 s the plugin asks accounting in place of squeue, whose word for a cancelled job it does not know by itself.
    """
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=root, seconds=seconds))
    before = max((int(job["JobIDRaw"]) for job in cluster.jobs()), default=0)
    with cluster.settings(MinJobAge=age):
        process = snakemake(tmp_path, "--verbose", plain=True)
        cluster.wait_for((tmp_path / "tried").exists, 300)
        cluster.command("scancel", cluster.queued()["rule_cancelled"])
        code = process.wait(seconds + 600)
    text = (tmp_path / "snakemake.log").read_text()
    assert code == 0, text[-4000:]
    jobs = [job for job in cluster.jobs() if int(job["JobIDRaw"]) > before]
    states = {
        rule: [job["State"].split()[0] for job in jobs if job["Comment"] == f"rule_{rule}"]
        for rule in ("lasts", "cancelled")
    }
    assert states == {"lasts": ["COMPLETED"], "cancelled": ["CANCELLED", "COMPLETED"]}
    assert ("Falling back to 'sacct'" in text) == (age < 60)
    assert len(re.findall("Checking the status of", text)) >= least
