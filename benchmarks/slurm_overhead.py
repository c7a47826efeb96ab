"""What SLURM gave each job of a run, and how much time the engine adds to the work: as Markdown.

A run of the tiny recipe by `snakemake --profile slurm` through the SLURM of the tests (tests/slurm/cluster.py). Added to the
work of a job (its rule's command, from its benchmark file) are: what the job takes longer (two Snakemakes start in it), and
the time from the end of what it needs to its own submission (Snakemake asks for states at intervals).
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/slurm"))

from cluster import Cluster, why_not  # noqa: E402

# Benchmark files lie in benchmarks/{rule}/; a job's comment holds the rule and its wildcards.
BENCHMARKED = ["train_model", "draw_level", "extract_features", "evaluate_patches", "stitch_slide"]


def run(folder: Path, recipe: Path, seconds: int) -> float:
    """Wall seconds of the run, which writes to `folder`."""
    python = Path(sys.executable)
    words = [str(python), "-m", "snakemake", "--profile", str(ROOT / "slurm"), "--sdm", "env-modules"]
    words += ["--slurm-init-seconds-before-status-checks", str(seconds), "--snakefile", str(ROOT / "Snakefile")]
    words += ["--directory", str(folder), "--configfile", str(recipe)]
    env = os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    with (folder / "snakemake.log").open("wb") as log:
        done = subprocess.run(words, check=False, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit((folder / "snakemake.log").read_text()[-4000:])
    return time.monotonic() - started


def work_seconds(results: Path, job: dict) -> float | None:
    """Seconds of the command of a job's rule, or None for a group and for rules without a benchmark."""
    comment = job["Comment"].removeprefix("rule_")
    rule = next((name for name in BENCHMARKED if comment.startswith(name)), None)
    for path in (results / "benchmarks" / str(rule)).rglob("*.tsv"):
        wildcards = "_".join(path.relative_to(results / "benchmarks" / rule).with_suffix("").parts)
        if comment in (rule, f"{rule}_wildcards_{wildcards}", f"{rule}_wildcards_{wildcards.replace('level', '')}"):
            with path.open() as file:
                return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    return None


def seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=ROOT / "config/test/harb.yaml")
    parser.add_argument(
        "--ask-every", type=int, default=20, help="seconds before a job's state is asked first; the profile's: 20"
    )
    args = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder) / "slurm") as cluster:
        (Path(folder) / "run").mkdir()
        wall = run(Path(folder) / "run", args.recipe.resolve(), args.ask_every)
        results = Path(folder) / "run/results" / yaml.safe_load(args.recipe.read_text())["run"]
        jobs = [job | {"work": work_seconds(results, job)} for job in cluster.jobs(duplicates=True)]

    print(
        "| job | partition | state | CPUs | GPUs | memory | limit, min | queue, s | in SLURM, s | work, s | added, s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    added = []
    for job in jobs:
        tres, work = job["tres"], job["work"]
        queue, elapsed = seconds_between(job["Submit"], job["Start"]), seconds_between(job["Start"], job["End"])
        if work is not None:
            added.append(elapsed - work)
        row = [
            job["Comment"].removeprefix("rule_").replace("_wildcards_", ": "),
            job["Partition"],
            job["State"],
            tres["cpu"],
        ]
        row += [tres.get("gres/gpu", "0"), tres["mem"], job["TimelimitRaw"], f"{queue:.0f}", f"{elapsed:.0f}"]
        row += ["", ""] if work is None else [f"{work:.1f}", f"{added[-1]:.1f}"]
        print(f"| {' | '.join(row)} |")
    # From the end of the last job that ended before a job was submitted, which is when it could have been.
    idle = [
        min(seconds_between(other["End"], job["Submit"]) for other in jobs if other["End"] <= job["Submit"])
        for job in jobs
        if any(other["End"] <= job["Submit"] for other in jobs)
    ]
    print(f"\n{len(jobs)} jobs, {wall:.0f} s in all on {os.cpu_count()} cores.", end=" ")
    print(
        f"Within a job {sum(added) / len(added):.1f} s are added on average ({min(added):.1f} to {max(added):.1f});",
        end=" ",
    )
    print(f"between jobs {sum(idle) / len(idle):.1f} s ({min(idle):.0f} to {max(idle):.0f}).")


if __name__ == "__main__":
    main()
