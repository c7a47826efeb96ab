"""Damage a run's files as disks and people do, start it again as its user would, and see what comes out.

    python tests/chaos.py --trials 100 --seed 1 --folder /tmp/chaos --table table.md

    python tests/chaos.py --every --seed 1 --folder /tmp/chaos   # each file of each kind of artefact damaged, then one start
    python tests/chaos.py --trials 20 --at-once 5 --slurm ...    # jobs go through a SLURM of its own (tests/slurm/cluster.py)

A trial is a function of its number and the seed. It copies a finished run, damages one file (or kills Snakemake with all its
jobs), and starts again, at most TRIES times. Right is: the same bytes as an undisturbed run, and, for damage, one line that
names the file. On SLURM, what is killed is Snakemake, and half of the time a job; the jobs that are left go on. Wrong is: other
bytes or a damaged file with exit 0 (silent), no end (stuck), a traceback.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE, RUN = ROOT / "tests/chaos.yaml", "results/chaos"  # unless another is damaged (tests/workflow/test_chaos.py)
TRIES = 4
# What differs between two undisturbed runs: seconds, and what is worked out again.
OWN = re.compile(
    r"/(logs|benchmarks|state)/|train\.jsonl$|report\.html$|made_by\.txt$|made_from\.txt$|contents\.json$|\.snakemake_timestamp$"
)

# Kinds of artefacts: pattern in the run's folder. In `state` they exist only while a run is under way.
KINDS = {
    "slide record": "slides/*.json",
    "phantom": "phantoms/*.tif",
    "mask": "tissue/*/mask.png",
    "tissue facts": "tissue/*/qc.json",
    "outline": "tissue/*/tissue.geojson",
    "splits": "splits.tsv",
    "patches": "patches/*/*.h5",
    "coordinates": "patches/*/coords/*/patches/*.h5",
    "data gate": "data.json",
    "weights": "models/*/model.safetensors",
    "model's facts": "models/*/model.json",
    "training log": "models/*/train.jsonl",
    "level": "synthetic/*/level*.h5",
    "plan": "synthetic/*/plan.json",
    "plan's mask": "synthetic/*/plan.png",
    "synthetic slide": "synthetic/*.tif",
    "features": "evaluation/features/*/*.h5",
    "numbers": "evaluation/*.json",
    "coherence": "evaluation/*/coherence.json",
    "contact sheet": "evaluation/*/contact.png",
    "recipe": "recipe.yaml",
    "report": "report.html",
    "what was brought": "contents.json",
    "planned state": "state/planned.json",
    "mark": "state/whole*/**/*.json",
    "checkpoint": "state/train/*/*/checkpoint.safetensors",
}
DAMAGES = ("cut", "flip", "delete", "swap", "zero", "older")
ROADS = ("next start", "heal", "under way")
MAY_BE_DELETED = ("patches", "features", "phantom")  # to make room: they are made again when a step needs them
RIGHT = ("same bytes", "healed")


@dataclass
class Trial:
    """What was done, and what came out."""

    number: int
    kind: str
    damage: str
    road: str
    file: str = ""
    outcome: str = ""
    said: str = ""
    starts: int = 0


CLUSTER: list = []  # one that runs, with --slurm
SITE = [
    *("--profile", str(ROOT / "slurm"), "--sdm", "env-modules"),
    *("--slurm-init-seconds-before-status-checks", "2"),
]


def snakemake(folder: Path) -> list[str]:
    own = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--configfile", str(RECIPE)]
    if CLUSTER:
        return [sys.executable, str(ROOT / "tests/slurm/quick_snakemake.py"), *own, *SITE]
    return [sys.executable, "-m", "snakemake", *own, "--cores", "1"]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }


def call(words: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        words, capture_output=True, text=True, env=environment(), cwd=folder, check=False, timeout=3600
    )
    return done.returncode, done.stdout + done.stderr


def digests(run: Path) -> dict[str, str]:
    """Name -> digest of all that must be the same; of the training's log without its seconds."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = f"/{path.relative_to(run).as_posix()}"
        if path.is_file() and not OWN.search(name):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in run.glob("models/*/train.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        without = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        found[f"/{path.relative_to(run)}"] = json.dumps(without)
    report = run / "report.html"
    found["/report.html"] = str(report.is_file() and report.read_text(errors="replace").rstrip().endswith("</html>"))
    return found


def base_run(folder: Path) -> Path:
    """The undisturbed run, made once."""
    base = folder / "base"
    if not (base / f"{RUN}/report.html").exists():
        base.mkdir(parents=True, exist_ok=True)
        code, said = call(snakemake(base), base)
        if code:
            sys.exit(f"the undisturbed run fails:\n{said[-3000:]}")
    return base


# ------------------------------------------------------------------------------------------------------------ damage


def do_damage(path: Path, damage: str, others: list[Path], rng: random.Random) -> str:
    """Damage a file; half of the time with its old time, as a disk does it. Returns in words what was done."""
    stat, octets = path.stat(), bytearray(path.read_bytes())
    other = rng.choice(others) if others else None
    if damage == "cut":
        octets = octets[: rng.randrange(max(1, len(octets)))]
    elif damage == "flip":
        place = rng.randrange(len(octets)) if octets else 0
        octets[place : place + 1] = bytes([(octets[place] if octets else 0) ^ (1 << rng.randrange(8))])
    elif damage == "zero":
        octets = bytearray()
    elif damage == "older":  # an earlier version of the same file: another content of nearly the same form
        other_digits = re.sub(rb"[1-8]", lambda found: bytes([found[0][0] + 1]), bytes(octets), count=3)
        octets = bytearray(other_digits or b"old")
    if damage == "delete":
        path.unlink()
    elif damage == "swap" and other is not None:
        theirs = other.read_bytes()
        other.write_bytes(octets)
        path.write_bytes(theirs)
    else:
        path.write_bytes(octets)
    if damage != "delete" and rng.random() < 0.5:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return f"{damage} {path.name}" + (f" with {other.name}" if damage == "swap" and other else "")


def take_away(run: Path, rng: random.Random, what: str | None) -> None:
    """Later outputs go, so that steps have to read what is damaged."""
    later = ["report.html", "evaluation", "synthetic/*.tif", "synthetic/*/level1.h5", "models/*/model.json"]
    for path in run.glob(what or rng.choice(later)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


# ------------------------------------------------------------------------------------------------------------ trials


def trials_of(numbers: range, seed: int, roads: Sequence[str]) -> list[Trial]:
    """What is done in each: a function of its number and the seed."""
    found = []
    for number in numbers:
        rng = random.Random(f"{seed}/{number}")
        kind, damage = rng.choice(list(KINDS)), rng.choice(DAMAGES)
        found.append(Trial(number, kind, damage, "under way" if kind == "checkpoint" else rng.choice(list(roads))))
    return found


def trials_of_every(run: Path, seed: int) -> list[Trial]:
    """One for each file that a finished run keeps. Not of marks: of a file and its mark both damaged nothing is known."""
    rng, found = random.Random(f"{seed}/every"), []
    for kind, pattern in KINDS.items():
        for path in sorted(path for path in run.glob(pattern) if path.is_file() and kind != "mark"):
            damage, name = rng.choice(["cut", "flip", "zero", "older"]), path.relative_to(run).as_posix()
            if kind != "checkpoint" and name not in {one.file for one in found}:
                found.append(Trial(len(found), kind, damage, "next start", name))
    return found


def run_trials(trials: list[Trial], seed: int, folder: Path, base: Path, expected: dict[str, str]) -> None:
    """Several damages to one copy of the run, one start; what comes out is said of each. All take one road, the first one's."""
    rng = random.Random(f"{seed}/{trials[0].number}/how")
    project = folder / f"trial{trials[0].number}"
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(base, project, symlinks=True)
    run = project / RUN
    if trials[0].road == "under way":
        take_away(run, rng, "models/*/model.json" if trials[0].kind == "checkpoint" else None)
        if rng.random() < 0.5:
            kill_one(project, rng)
    gone = set()
    for trial in trials:
        files = sorted(path for path in run.glob(KINDS[trial.kind]) if path.is_file())
        if files:
            path = run / trial.file if trial.file else rng.choice(files)
            trial.file = path.relative_to(run).as_posix()
            alike = [other for other in files if other != path]
            do_damage(path, trial.damage, alike or sorted(run.glob("slides/*.json")), rng)
            if trial.damage == "delete" and trial.kind in MAY_BE_DELETED:
                gone.add(f"/{trial.file}")
    run_again(trials, project, run, {name: digest for name, digest in expected.items() if name not in gone}, gone)
    if all(trial.outcome in RIGHT for trial in trials):
        shutil.rmtree(project)


def kill_one(project: Path, rng: random.Random) -> None:
    """Start Snakemake and end it with all its jobs, at any moment."""
    words = snakemake(project)
    head = subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
        cwd=project,
        start_new_session=True,
    )
    time.sleep(rng.uniform(2, 120 if CLUSTER else 40))
    if CLUSTER and rng.random() < 0.5:
        jobs = CLUSTER[0].command("squeue", "-h", "-o", "%A", check=False).split()
        CLUSTER[0].command("scancel", "--signal=KILL", "--full", *jobs[:1], check=False)
    if head.poll() is None:
        os.killpg(head.pid, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
    head.wait()
    call([*words, "--unlock"], project)


def run_again(trials: list[Trial], project: Path, run: Path, expected: dict[str, str], gone: set[str]) -> None:
    """Start until it ends well, and say of each what came out."""
    said, code, starts = "", 1, 0
    if trials[0].road == "heal":
        words = [
            sys.executable,
            "-m",
            "histogenesis",
            "check",
            RUN,
            "--deep",
            "--heal",
            "--",
            *(SITE if CLUSTER else ["--cores", "1"]),
        ]
        said = call(words, project)[1]
    while code and starts < TRIES:
        starts += 1
        code, more = call(snakemake(project), project)
        said += more
    (project / "said.txt").write_text(said)
    found = {name: digest for name, digest in digests(run).items() if name not in gone}
    wrong = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
    for trial in trials:
        lines = [line.strip() for line in said.splitlines() if trial.file and trial.file in line]
        trial.starts, trial.road = starts, trials[0].road
        trial.said = next((line for line in lines if "damaged" in line or "is gone" in line), "")
        if "Traceback (most recent call last)" in said:
            trial.outcome = "traceback"
        elif code:
            trial.outcome = "stuck"
        elif wrong:
            trial.outcome, trial.said = "silent", ", ".join(wrong[:5])
        else:
            trial.outcome = "healed" if trial.said else "same bytes"


def table(trials: list[Trial]) -> str:
    """Kinds x damages: outcomes, counted."""
    lines = [f"| artefact | {' | '.join(DAMAGES)} |", "|---|" + "---|" * len(DAMAGES)]
    for kind in KINDS:
        cells = []
        for damage in DAMAGES:
            counts = Counter(one.outcome for one in trials if (one.kind, one.damage) == (kind, damage))
            cells.append(", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items())))
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    total = Counter(one.outcome for one in trials)
    return (
        "\n".join([*lines, "", f"{len(trials)} trials: " + ", ".join(f"{n} {k}" for k, n in sorted(total.items()))])
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, required=True, help="the undisturbed run, and what went wrong, stay there"
    )
    parser.add_argument("--every", action="store_true", help="damage every file that the run keeps, before one start")
    parser.add_argument("--roads", nargs="+", choices=ROADS, default=list(ROADS))
    parser.add_argument("--table", type=Path, help="where to write the table of kinds x outcomes")
    parser.add_argument("--at-once", type=int, default=1, help="so many damages before each start")
    parser.add_argument("--slurm", action="store_true", help="jobs go through a real SLURM, started for this")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if args.slurm:
            start_cluster(stack)
        run_all(args)


def start_cluster(stack: contextlib.ExitStack) -> None:
    """A SLURM for these trials, until the stack is left. Ends the program where there is none."""
    sys.path.insert(0, str(ROOT / "tests/slurm"))
    from cluster import Cluster, why_not

    if reason := why_not():
        sys.exit(f"error: {reason}")
    place = stack.enter_context(tempfile.TemporaryDirectory())
    CLUSTER.append(stack.enter_context(Cluster(Path(place))))


def run_all(args: argparse.Namespace) -> None:
    folder = args.folder.resolve()
    base = base_run(folder)
    expected = digests(base / RUN)
    trials = trials_of(range(args.first, args.first + args.trials), args.seed, args.roads)
    if args.every:
        trials = trials_of_every(base / RUN, args.seed)
        args.at_once = len(trials)
    for start in range(0, len(trials), args.at_once):
        some = trials[start : start + args.at_once]
        run_trials(some, args.seed, folder, base, expected)
        print(*(json.dumps(trial.__dict__) for trial in some), sep="\n", flush=True)
        if args.table:
            args.table.write_text(table(trials[: start + len(some)]))
    print(table(trials))
    if bad := [one for one in trials if one.outcome not in RIGHT]:
        sys.exit(f"error: {len(bad)} of {len(trials)} trials went wrong: {', '.join(str(one.number) for one in bad)}")


if __name__ == "__main__":
    main()
