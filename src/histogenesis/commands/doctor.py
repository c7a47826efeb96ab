"""What this machine has of what runs need: packages, GPU, memory, disk, SLURM, conda; what is missing, and the remedy."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

EXAMPLES = """\
  histogenesis doctor
  histogenesis doctor --results /scratch/me   # where results are to lie"""

EXTRAS = {
    "slides": {"openslide-python": "reads slides", "openslide-bin": "OpenSlide itself", "tifffile": "writes slides"},
    "train": {"torch": "trains and draws", "safetensors": "model files"},
    "evaluate": {"diffusers": "autoencoders", "monai": "discriminators", "scikit-image": "metrics"},
    "workflow": {"snakemake": "runs the steps", "snakemake-executor-plugin-slurm": "on a cluster"},
}
CONDA = (24, 7, 1)  # what Snakemake 9 wants
ASKED_OF_ACCOUNTING_S = 60  # a MinJobAge below three first pauses between questions (slurm/config.yaml)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", type=Path, default=Path("."), help="folder in which runs are to lie")


def run(args: argparse.Namespace) -> None:
    from histogenesis.core.software import package_version

    print(f"histogenesis {package_version()}, Python {sys.version.split()[0]}")
    found = [*packages(), *hardware(), *room(args.results), *cluster()]
    for good, what, says in found:
        print(f"  {'ok' if good else '--' if good is None else '!!':3} {what:12} {says}")
    if any(good is False for good, _, _ in found):
        sys.exit("error: what is marked !! must be put right first")


def packages():
    """(good, what, words); good is None for what only some runs need."""
    for extra, names in EXTRAS.items():
        missing, there = [], []
        for name, use in names.items():
            try:
                there.append(f"{name} {metadata.version(name)}")
            except metadata.PackageNotFoundError:
                missing.append(f"{name} ({use})")
        if missing:
            yield (
                None,
                extra,
                f"without {', '.join(missing)}: pip install 'histogenesis[{extra}]', or conda makes it for each step",
            )
        else:
            yield True, extra, ", ".join(there)


def hardware():
    threads = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield True, "cpu", f"{threads} core(s), {memory:.0f} GiB of memory"
    told = output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    if told is None:
        yield None, "gpu", "none here (no nvidia-smi): models of the demo's size train on a CPU, others need one"
        return
    try:
        import torch
    except ImportError:
        yield None, "gpu", f"{told.replace(chr(10), '; ')}, and no PyTorch to use it"
        return
    usable = torch.cuda.is_available()
    why = "" if usable else f"; but PyTorch {torch.__version__} cannot use it: install its CUDA build for this driver"
    yield usable, "gpu", told.replace("\n", "; ") + why


def room(results: Path):
    for what, folder in (("results", results), ("temporary", Path(os.environ.get("TMPDIR", "/tmp")))):
        if not folder.is_dir():
            yield False, what, f"{folder}: there is no such folder; make it, or name another"
            continue
        free = shutil.disk_usage(folder).free / 1e9
        writable = os.access(folder, os.W_OK)
        say = f"{folder.resolve()}: {free:.0f} GB free" + ("" if writable else ", and not writable")
        enough = free > 10
        yield (
            writable and (True if enough else None),
            what,
            say + ("" if enough else "; a slide of 65,536 px takes 26 GB"),
        )


def cluster():
    version = output("conda", "--version")
    numbers = tuple(map(int, re.findall(r"\d+", version or "")))[:3]
    if not version:
        yield (
            None,
            "conda",
            "not here: needed for --sdm conda (the SLURM profile has it on), unless all is installed already",
        )
    else:
        good = numbers >= CONDA
        yield good, "conda", version + ("" if good else f": Snakemake wants {'.'.join(map(str, CONDA))} or newer")
    partitions = output("sinfo", "-h", "-o", "%R %G")
    if partitions is None:
        yield None, "slurm", "not here (no sinfo): runs stay on this machine"
        return
    names = sorted({line.split()[0] for line in partitions.splitlines()})
    gpus = sorted({line.split()[0] for line in partitions.splitlines() if "gpu" in line.split()[-1]})
    yield bool(gpus) or None, "slurm", f"partitions {', '.join(names)}; with GPUs: {', '.join(gpus) or 'none'}"
    age = re.search(r"MinJobAge\s*=\s*(\d+)", output("scontrol", "show", "config") or "")
    if age and int(age[1]) < ASKED_OF_ACCOUNTING_S:
        accounted = output("sacct", "--noheader", "--starttime", "now") is not None
        say = "" if accounted else ", which there is not (sacct): of a forgotten job its own log is read"
        yield accounted or None, "slurm", f"MinJobAge is {age[1]} s, so short that accounting is asked for states{say}"


def output(*words: str) -> str | None:
    """What a command prints; None where there is none, or it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
