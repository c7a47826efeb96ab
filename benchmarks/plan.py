"""How long Snakemake takes to see that nothing is to be done: the paper's recipe with 2,000 slides and 20 synthetic ones.

The results are made up, and all else is real: 2,000 small files stand for the slides (their fingerprints are remembered, as
they would be), every output that a dry run names is there (empty, and as large as a real one), and Snakemake itself notes
them as made (`--touch`, without its pause of 0.1 s a job). Then the dry run is timed, against one of the recipe with 4 slides,
and against the limit: bare Snakemake, with a workflow of as many jobs that has neither recipe nor params.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TOUCH = """
import sys
from snakemake.executors import touch
touch.Executor.SLEEPING_TIME = 0
from snakemake.cli import main
main(sys.argv[1:])
"""
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
LARGE = {
    ".h5": 20_000_000,
    ".tif": 1_000_000_000,
    ".safetensors": 200_000_000,
}  # not checksummed when a project is planned


def snakemake(folder: Path, *arguments: str, touch: bool = False) -> tuple[str, float, float]:
    """Its words, and the seconds that it took: on the clock, and of the CPU."""
    command = [sys.executable, *(["-c", TOUCH] if touch else ["-m", "snakemake"]), "--cores", "2"]
    command += ["--directory", str(folder)]
    if (folder / "Snakefile").exists():
        command += ["--snakefile", str(folder / "Snakefile")]
    else:
        command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(folder / "recipe.yaml")]
    command += arguments
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, os.times()
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout + done.stderr, seconds, cpu


def make_run(folder: Path, slides: int, synthetic: int) -> int:
    """A finished run of config/harb.yaml, as far as Snakemake can tell. Returns how many jobs it has."""
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
    text, *_ = snakemake(folder, "--dry-run")
    for line in re.findall(r"^    output: (.+)$", text, re.MULTILINE):
        for name in line.split(", "):
            path = folder / name
            if not path.suffix:  # a folder
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as file:
                file.truncate(LARGE.get(path.suffix, 1000))
    for record in (folder / "results/harb/slides").glob("*.json"):
        record.write_text(json.dumps({"slide": record.stem, "error": None, "width_px": 50_000, "height_px": 40_000}))
    snakemake(folder, "--touch", "--forceall", "--quiet", "all", touch=True)
    return int(re.findall(r"^total +(\d+)$", text, re.MULTILINE)[0])


def make_bare(folder: Path, jobs: int) -> int:
    """A finished run of as many jobs, in chains of three like those of a slide, of a workflow that does nothing else."""
    chains = jobs // 3
    for step in "abc":
        (folder / step).mkdir(parents=True)
        for i in range(chains):
            (folder / step / f"{i}.txt").touch()
    (folder / "Snakefile").write_text(BARE.format(chains=chains))
    snakemake(folder, "--touch", "--forceall", "--quiet", "all", touch=True)
    return 3 * chains + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=2000)
    parser.add_argument("--synthetic", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        jobs = 0
        for slides in (4, args.slides, "bare"):
            place = Path(folder, str(slides))
            jobs = make_bare(place, jobs) if slides == "bare" else make_run(place, slides, args.synthetic)
            times = []
            for _ in range(args.repeats):
                text, seconds, cpu = snakemake(place, "--dry-run")
                if "Nothing to be done" not in text:
                    sys.exit(f"the made-up run is not finished:\n{text[-2000:]}")
                times.append((seconds, cpu))
            seconds, cpu = min(times)
            load = os.getloadavg()[0]
            what = "bare Snakemake" if slides == "bare" else f"{slides} slides, {args.synthetic} synthetic"
            print(
                f"{what}, {jobs} jobs: nothing to be done after {seconds:.1f} s"
                f" ({cpu:.1f} s of CPU, {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6:.2f} GB at most;"
                f" best of {args.repeats}; load {load:.1f} on {os.cpu_count()} cores)",
                flush=True,
            )


if __name__ == "__main__":
    main()
