"""Sentences on whether the model copies its training patches, and whether its losses tell what it learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from histogenesis.report.blocks import Statement
from histogenesis.report.found import Run
from histogenesis.report.verdict import rules


def copies(run: Run) -> Iterator[Statement]:
    """Nothing found is good only where copies would have been found: all searched, and with power."""
    audit = run.memorisation
    if not audit:
        return
    status = rules.COPYING.get(audit.get("verdict"), "open")
    sentence, note = audit.get("sentence", "no sentence"), f" ({audit['note']})" if audit.get("note") else ""
    if status == "good" and (why := untested(audit)):
        text = f"Memorisation: not measured: {why}. {sentence}{note}"
        yield Statement("open", text, run.memorisation_file, "copies", f"copying not measured ({why})")
    else:
        clause = {
            "bad": "training patches are copied",
            "look": "perhaps copies: look at the pairs",
            "good": "no copies found, would have been found",
            "open": "copying not measured",
        }[status]
        headline = "copies" if status == "bad" else ""
        yield Statement(status, f"Memorisation: {sentence}{note}", run.memorisation_file, "copies", clause, headline)
    yield from _membership(run, audit.get("membership"))


def untested(audit: dict[str, Any]) -> str:
    """Why a search that found nothing says nothing; empty where it says something."""
    searched, of = audit.get("searched"), audit.get("of")
    if searched is None or of is None:
        return "how much was searched is not known"
    if searched < of:
        return f"{searched:,} of {of:,} training patches were searched"
    power = audit.get("power")
    if not power or power.get("found") is None:
        return "whether copies would have been found is not known"
    if power["found"] < rules.POWER:
        return f"{100 * power['share']:g} in 100 copies would have been found with {100 * power['found']:.0f} % only"
    return ""


def _membership(run: Run, found: dict[str, Any] | None) -> Iterator[Statement]:
    if not found:
        return
    status = rules.COPYING.get(found.get("verdict"), "open")
    clause = "its losses tell what it learnt from" if status in ("look", "bad") else ""
    text = f"Membership: {found.get('sentence', 'no sentence')}"
    yield Statement(status, text, run.memorisation_file, "membership", clause)
