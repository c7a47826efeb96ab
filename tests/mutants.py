"""Mutation testing of what decides: metrics, the audit, the verdict, samplers, canvas and training. Each mutant of mutants.yaml
is one wrong line; the tests that cover it must fail on it, and pass without it.

    python tests/mutants.py                 # all, a table, exit 1 under 90 %
    python tests/mutants.py seams copies    # those whose name holds one of these words

A copy of src/ is changed, one line at a time; the working tree is not touched. A mutant whose line is gone is an error: the
list is to be kept. A mutant may say why it may live.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
KILLED_LEAST = 0.9
LONGEST_S = 900  # a test that hangs has noticed, too


class Mutant(NamedTuple):
    file: str  # under src/histogenesis
    name: str
    right: str
    wrong: str
    tests: str  # under tests/, with pytest's options
    survives: str = ""


def read() -> list[Mutant]:
    listed = yaml.safe_load((ROOT / "tests/mutants.yaml").read_text())
    return [Mutant(file, *one) for file, some in listed.items() for one in some]


def main() -> None:
    words = sys.argv[1:]
    found = []
    print("| mutant | result | s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src")
        for mutant in read():
            if not words or any(word in mutant.name for word in words):
                start = time.monotonic()
                found.append(run(mutant, Path(folder) / "src"))
                print(f"| {mutant.name} | {found[-1]} | {time.monotonic() - start:.0f} |", flush=True)
    counts = Counter(found)
    counted = len(found) - counts["may survive"]
    print(f"\n{counts['killed']} of {counted} killed; {counts['may survive']} may survive")
    if counts["gone"] or counts["killed"] < KILLED_LEAST * counted:
        sys.exit(1)


def run(mutant: Mutant, src: Path) -> str:
    """killed, survived, may survive (for the reason that is given), gone (its line is not there once), or error: ..."""
    file = src / "histogenesis" / mutant.file
    text = file.read_text() if file.exists() else ""
    if text.count(mutant.right) != 1:
        return "gone"
    if unchanged := failures(mutant.tests, src):
        return f"error: without the mutant, {unchanged}"
    file.write_text(text.replace(mutant.right, mutant.wrong))
    try:
        code, last = tested(mutant.tests, src)
    finally:
        file.write_text(text)
    if code in (0, 1):
        return "killed" if code else "may survive" if mutant.survives else "survived"
    return f"error: {last}"


@cache
def failures(tests: str, src: Path) -> str:
    """What tests say of the code as it is; empty where they pass."""
    code, last = tested(tests, src)
    return last if code else ""


def tested(tests: str, src: Path) -> tuple[int, str]:
    """pytest's exit code (1: a test failed, or did not end) and last line."""
    chosen = [f"tests/{word}" if ".py" in word else word for word in shlex.split(tests)]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *chosen]
    env = os.environ | {"PYTHONPATH": str(src)}
    try:
        found = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired:
        return 1, "did not end"
    return found.returncode, (found.stdout.strip().splitlines() or [found.stderr.strip()])[-1]


if __name__ == "__main__":
    main()
