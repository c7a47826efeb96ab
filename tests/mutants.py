"""Mutation testing of what decides: metrics, the audit, the verdict, samplers and training. Each mutant is one wrong line; the
tests that cover it must fail on it.

    python tests/mutants.py                 # all, a table, exit 1 under 90 %
    python tests/mutants.py seams copies    # those whose name holds one of these words

A copy of src/ is changed, one line at a time; the working tree is not touched. A mutant whose line is gone is an error: the
list is to be kept. `survives` says why a mutant may live.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
KILLED_LEAST = 0.9


class Mutant(NamedTuple):
    name: str
    file: str  # under src/histogenesis
    old: str
    new: str
    tests: str  # under tests/, with pytest's options
    survives: str = ""


FRECHET, INTERVALS = "metrics/distances/frechet.py", "metrics/distances/intervals.py"
AUDIT, SEAMS = "metrics/memorisation/audit.py", "metrics/coherence/seams.py"
WINDOWS, EVALUATE = "metrics/memorisation/windows.py", "evaluation/evaluate.py"
MUTANTS = [
    Mutant("fid: cross term", FRECHET, "- 2 * cross", "- cross", "metrics/test_frechet.py -k closed_form"),
    Mutant(
        "fid infinity: halves and whole",
        FRECHET,
        "2 * whole - half,",
        "2 * half - whole,",
        "metrics/test_frechet.py -k extrap",
    ),
    Mutant(
        "fid infinity: warns late",
        FRECHET,
        "LITTLE_PER_DIMENSION = 4",
        "LITTLE_PER_DIMENSION = 0",
        "metrics/test_frechet.py -k extrap",
    ),
    Mutant(
        "fid infinity: takes too few",
        FRECHET,
        "LEAST_PER_DIMENSION = 1.5",
        "LEAST_PER_DIMENSION = 0.5",
        "metrics/test_frechet.py -k extrap",
    ),
    Mutant(
        "kid: cross term", "metrics/distances/kernel.py", "- 2 * _sum(x, y", "- _sum(x, y", "metrics/test_kernel.py"
    ),
    Mutant(
        "kid: kernel's one", "metrics/distances/kernel.py", "/ x.shape[1] + 1", "/ x.shape[1]", "metrics/test_kernel.py"
    ),
    Mutant(
        "manifold: one ball is not enough",
        "metrics/distances/manifold.py",
        "(balls > 0)",
        "(balls > 1)",
        "metrics/test_manifold.py -k known",
    ),
    Mutant(
        "manifold: repeats",
        "metrics/distances/manifold.py",
        "real_radii[rows, None]) | same",
        "real_radii[rows, None])",
        "metrics/test_manifold.py -k identical",
    ),
    Mutant(
        "manifold: origins",
        "metrics/distances/neighbours.py",
        "distances[own[rows, None] == own] = np.inf",
        "distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = np.inf",
        "metrics/test_manifold.py -k identical",
    ),
    Mutant(
        "intervals: jackknife's factor",
        INTERVALS,
        "(k - 1) ** 2 / k",
        "(k - 1) / k",
        "metrics/test_intervals.py -k textbook",
    ),
    Mutant(
        "intervals: degrees of freedom",
        INTERVALS,
        "sum(freedom), min(freedom))",
        "sum(freedom), sum(freedom))",
        "metrics/test_intervals.py -k textbook",
    ),
    Mutant(
        "intervals: two patients will do",
        INTERVALS,
        "FEWEST_GROUPS = 6",
        "FEWEST_GROUPS = 2",
        "metrics/test_intervals.py -k too_few",
    ),
    Mutant(
        "intervals: unlike patients",
        INTERVALS,
        "FEWEST_ALIKE = 5.0",
        "FEWEST_ALIKE = 1.0",
        "metrics/test_intervals.py -k too_few",
    ),
    Mutant(
        "intervals: units are split",
        INTERVALS,
        "return group[label]",
        "return rng.permutation(group[label])",
        "metrics/test_intervals.py -k whole_units",
    ),
    Mutant(
        "blocks: neighbours may be alike",
        "metrics/distances/blocks.py",
        "ALIKE = 0.08",
        "ALIKE = 8.0",
        "metrics/test_intervals.py -k one_slide",
    ),
    Mutant(
        "audit: level of copies",
        AUDIT,
        "found.p_value < alpha / 10",
        "found.p_value < alpha * 20",
        "metrics/test_copies.py -k false_alarms",
    ),
    Mutant(
        "audit: little searched is clear",
        AUDIT,
        "elif searched < of:",
        "elif searched > of:",
        "metrics/test_memorisation.py -k searched",
    ),
    Mutant(
        "audit: without power is clear",
        AUDIT,
        'power["found"] < FOUND_LEAST',
        'power["found"] < 0',
        "metrics/test_memorisation.py -k searched",
    ),
    Mutant(
        "audit: nobody stands alone", AUDIT, "SURE = 2.0", "SURE = 200.0", "metrics/test_memorisation.py -k searched"
    ),
    Mutant(
        "audit: authentic the other way",
        AUDIT,
        "(ratio > 1).sum()",
        "(ratio < 1).sum()",
        "metrics/test_memorisation.py -k overfitted",
    ),
    Mutant(
        "audit: origins",
        AUDIT,
        "np.arange(len(train)) if train_origin is None else np.asarray(train_origin)",
        "np.arange(len(train))",
        "metrics/test_memorisation.py -k turned_copies_in",
    ),
    Mutant(
        "audit: alarms are outvoted",
        "evaluation/evaluate_copies.py",
        "names = alarms or",
        "names =",
        "metrics/test_memorisation.py -k alarm",
    ),
    Mutant("copies: null components", WINDOWS, "NOTHING = 1e-5", "NOTHING = 0", "metrics/test_copies.py -k null"),
    Mutant(
        "membership: sign",
        "metrics/memorisation/membership.py",
        "[-(part / scale)",
        "[(part / scale)",
        "metrics/test_membership.py",
    ),
    Mutant(
        "membership: alarm", "metrics/memorisation/membership.py", "low > TOLD", "low > 1", "metrics/test_membership.py"
    ),
    Mutant("seams: one side", SEAMS, "2 * min(steeper, flatter)", "2 * steeper", "metrics/test_seams.py -k blurred"),
    Mutant(
        "seams: side",
        SEAMS,
        '"steep" if steeper < flatter',
        '"steep" if steeper > flatter',
        "metrics/test_seams.py -k blurred",
    ),
    Mutant(
        "seams: exchanges",
        "metrics/coherence/feature_seams.py",
        "chance >= value",
        "chance <= value",
        "metrics/test_feature_seams.py -k permutation",
    ),
    Mutant(
        "seams: pairs",
        "metrics/coherence/feature_seams.py",
        "- kernel[:n, n:] - kernel[n:, :n]",
        "- kernel[:n, n:]",
        "metrics/test_feature_seams.py -k permutation",
    ),
    Mutant(
        "seam map: line",
        "metrics/coherence/seam_map.py",
        "y - first - 1, block_px",
        "y - first, block_px",
        "metrics/test_seams.py -k named",
    ),
    Mutant(
        "evaluate: patients are not passed on",
        EVALUATE,
        "compare(parts[1], parts[2], [groups[1], groups[2]]",
        "compare(parts[1], parts[2], [None, None]",
        "evaluation/test_evaluate.py -k near_the_floor",
    ),
    Mutant(
        "evaluate: floor against itself",
        EVALUATE,
        "compare(*halves(parts[1], parts[0], seed), None",
        "compare(parts[1], parts[1], None",
        "evaluation/test_evaluate.py -k near_the_floor",
    ),
    Mutant(
        "verdict: copies are green",
        "report/verdict/copying.py",
        '{"copies": "bad"',
        '{"copies": "good"',
        "report/test_verdict.py -k copies_lead",
    ),
    Mutant(
        "verdict: little searched is green",
        "report/verdict/copying.py",
        "if searched < of:",
        "if searched > of:",
        "report/test_verdict.py -k searched",
    ),
    Mutant(
        "verdict: clear seam",
        "report/verdict/rules.py",
        "CLEAR_SEAM = 1.1",
        "CLEAR_SEAM = 1.5",
        "report/test_verdict.py -k seams",
    ),
    Mutant("verdict: far", "report/verdict/rules.py", "FAR = 0.5", "FAR = 5.0", "report/test_verdict.py"),
    Mutant(
        "verdict: silent encoders speak",
        "report/verdict/degrees.py",
        'if row.get("speaks") is False:',
        "if False:",
        "report/test_verdict.py",
    ),
    Mutant(
        "sampler: 2M's step ratio",
        "sampling/solvers.py",
        "h / (2 * math.log(s_before / s))",
        "0.5",
        "sampling/test_samplers.py -k weighs",
    ),
    Mutant(
        "sampler: heun's half",
        "sampling/solvers.py",
        "memory + (s_next - s) / 2 / s_next",
        "memory + (s_next - s) / s_next",
        "sampling/test_samplers.py -k order",
    ),
    Mutant(
        "sampler: release off by one",
        "core/sigmas.py",
        "sigmas[steps - last_steps]",
        "sigmas[steps - last_steps - 1]",
        "sampling/test_samplers.py -k release",
    ),
    Mutant(
        "training: gradients are not clipped",
        "models/training.py",
        "self.t.clip_gradient or math.inf",
        "math.inf",
        "models/test_clip_gradient.py",
    ),
]


def main() -> None:
    words = sys.argv[1:]
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    results = []
    print("| mutant | result | s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src")
        for mutant in chosen:
            start = time.monotonic()
            results.append(run(mutant, Path(folder) / "src"))
            print(f"| {mutant.name} | {results[-1]} | {time.monotonic() - start:.0f} |", flush=True)
    counted = [r for r in results if r != "may survive"]
    killed = counted.count("killed")
    print(f"\n{killed} of {len(counted)} killed; {results.count('may survive')} may survive")
    if "gone" in results or killed < KILLED_LEAST * len(counted):
        sys.exit(1)


def run(mutant: Mutant, src: Path) -> str:
    """killed, survived, gone (its line is not there once), or may survive."""
    file = src / "histogenesis" / mutant.file
    text = file.read_text() if file.exists() else ""
    if text.count(mutant.old) != 1:
        return "gone"
    file.write_text(text.replace(mutant.old, mutant.new))
    test, *options = mutant.tests.split()
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{test}", *options]
    try:
        found = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(src)}, capture_output=True, text=True, check=False
        )
    finally:
        file.write_text(text)
    if found.returncode == 1:
        return "killed"
    if found.returncode:
        return f"error: {found.stdout.strip().splitlines()[-1]}"
    return "may survive" if mutant.survives else "survived"


if __name__ == "__main__":
    main()
