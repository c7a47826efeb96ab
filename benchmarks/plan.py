"""How long Snakemake takes to plan the paper's recipe with 2,000 slides and 20 synthetic ones, at first and with nothing to do.

The results are made up, and all else is real: 2,000 small files stand for the slides (their fingerprints are remembered, as
they would be), every output of Snakemake's plan is there (empty, and as large as a real one), and noted as made by Snakemake
and by the workflow. Timed are a dry run before that, a start with nothing to do that asks of every step, and a dry run after
it, which asks of no settled one (rules/settled.smk); against the recipe with 4 slides, and against the limit: bare Snakemake,
with a workflow of as many jobs that has neither recipe nor params.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BARE = """
rule all:
    input: expand("c/{{i}}.txt", i=range({chains}))
rule a:
    output: "a/{{i}}.txt"
    shell: "touch {{output}}"
rule b:
    input: "a/{{i}}.txt"
    output: "b/{{i}}.txt"
    shell: "touch {{output}}"
rule c:
    input: "b/{{i}}.txt"
    output: "c/{{i}}.txt"
    shell: "touch {{output}}"
"""


def snakemake(folder: Path, *arguments: str, make: bool = False) -> tuple[str, float, float, float]:
    """Its words, the seconds that it took on the clock and of the CPU, and its memory at most in GB."""
    command = [
        sys.executable,
        *([str(ROOT / "benchmarks/made_up_run.py")] if make else ["-m", "snakemake"]),
        "--cores",
        "2",
    ]
    command += ["--directory", str(folder)]
    if (folder / "Snakefile").exists():
        command += ["--snakefile", str(folder / "Snakefile")]
    else:
        command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(folder / "recipe.yaml")]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen([*command, *arguments], stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        said.seek(0)
        text = said.read()
    if status:
        sys.exit(text[-4000:])
    return text, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def make_run(folder: Path, slides: int, synthetic: int) -> None:
    """A run of config/harb.yaml that has not begun."""
    (folder / "slides").mkdir(parents=True)
    rows = ["slide\tpath\tpatient"]
    for i in range(slides):
        (folder / f"slides/s{i:05d}.svs").write_text(f"slide {i}")
        rows.append(f"s{i:05d}\tslides/s{i:05d}.svs\tp{i // 2:05d}")
    (folder / "slides.tsv").write_text("\n".join(rows) + "\n")
    recipe = yaml.safe_load((ROOT / "config/harb.yaml").read_text())
    recipe["slides"] = {"table": "slides.tsv"}
    recipe["synthetic"]["slides"] = synthetic
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def make_bare(folder: Path, jobs: int) -> None:
    """As many jobs, in chains of three like those of a slide, of a workflow that does nothing else."""
    folder.mkdir()
    (folder / "Snakefile").write_text(BARE.format(chains=jobs // 3))


def measure(folder: Path, what: str, repeats: int) -> int:
    """Print what planning takes, first and later. Returns the number of jobs."""
    text, *first = snakemake(folder, "--dry-run")
    jobs = int(re.findall(r"^total +(\d+)$", text, re.MULTILINE)[0])
    print(f"{what}, {jobs} jobs, on {os.cpu_count()} cores:")
    say("first plan", *first)
    snakemake(folder, "--dry-run", "--quiet", "all", make=True)
    measure_idle(folder, 1, [])
    measure_idle(folder, repeats)
    return jobs


def measure_idle(folder: Path, repeats: int, words: Sequence[str] = ("--dry-run",)) -> None:
    """Print what it takes to see that nothing is to be done, at best."""
    text, *used = min((snakemake(folder, *words) for _ in range(repeats)), key=lambda one: one[2])
    if "Nothing to be done" not in text:
        sys.exit(f"the made-up run is not finished:\n{text[-2000:]}")
    settled = re.findall(r"^(\d+) steps of slides are", text, re.MULTILINE)
    say(f"nothing to do, {settled[0] if settled else 'no'} steps settled", *used)


def say(what: str, seconds: float, cpu: float, memory: float) -> None:
    print(f"  {what}: {cpu:.1f} s of CPU, {memory:.2f} GB, {seconds:.1f} s (load {os.getloadavg()[0]:.1f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=2000)
    parser.add_argument("--synthetic", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--settled", type=int, help="instead: so many slides, all steps of which are settled")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.settled:
            make_run(Path(folder, "run"), args.settled, args.synthetic)
            os.environ["SETTLE"] = "yes"
            snakemake(Path(folder, "run"), "--dry-run", "--quiet", "all", make=True)
            return measure_idle(Path(folder, "run"), args.repeats)
        jobs = 0
        for slides in (4, args.slides):
            make_run(Path(folder, str(slides)), slides, args.synthetic)
            jobs = measure(Path(folder, str(slides)), f"{slides} slides, {args.synthetic} synthetic", args.repeats)
        make_bare(Path(folder, "bare"), jobs)
        measure(Path(folder, "bare"), "bare Snakemake", args.repeats)


if __name__ == "__main__":
    main()
