"""The tiny `harb` recipe for SLURM's tests, and the jobs that SLURM had of it."""

from pathlib import Path

HARB = ("--configfile", "config/test/harb.yaml")
SLIDES = ["synthetic_001", "synthetic_002"]
RUN = Path("results/test-harb")
WORKFLOW = ["Snakefile", "rules", "workflow", "src", "config", "envs", "profiles", "slurm"]


def last_job(cluster) -> int:
    return max((int(job["JobIDRaw"]) for job in cluster.jobs()), default=0)


def since(cluster, number: int) -> list[dict]:
    return [job for job in cluster.jobs(duplicates=True) if int(job["JobIDRaw"]) > number]


def show(jobs: list[dict]) -> None:
    """The suite's summary; `pytest -s` or a failure shows it."""
    keys = ("JobIDRaw", "Partition", "State", "AllocTRES", "TimelimitRaw", "Start", "End", "Comment")
    for job in jobs:
        print(*(job[key] for key in keys))
