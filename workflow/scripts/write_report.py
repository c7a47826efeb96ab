"""The report of a run: one self-contained report.html, with the verdict first and every number linked to its file."""

from histogenesis.steps.command import run
from histogenesis.steps.write_report import write_report

if __name__ == "__main__":
    run(write_report)
