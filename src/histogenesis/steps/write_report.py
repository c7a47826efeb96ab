"""The report of a run."""

from __future__ import annotations

from pathlib import Path

from histogenesis.report.build import build_report


def write_report(*, run_dir: Path, out: Path) -> None:
    """The report of a run: one self-contained report.html, with the verdict first and every number linked to its file.

    Reads whatever the run's folder holds; parts that are missing are named as not measured. Prints the bottom line.

    run_dir: results/{run}
    out: report.html
    """
    print(build_report(run_dir, out))
