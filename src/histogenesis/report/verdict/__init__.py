"""The verdict: one sentence that says it all, and the plain sentences that it is made of, what was not measured included."""

from histogenesis.report.verdict.bottom_line import bottom_line
from histogenesis.report.verdict.sentences import statements

__all__ = ["bottom_line", "statements"]
