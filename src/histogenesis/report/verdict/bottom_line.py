"""The bottom line: one sentence first, composed of what the statements say in short."""

from __future__ import annotations

from collections.abc import Sequence

from histogenesis.report.blocks import Statement, Status
from histogenesis.report.verdict.rules import HEADLINES, TOPICS

RANK: dict[Status, int] = {"bad": 0, "look": 1, "open": 2, "good": 3, "fact": 4}
MUST = ("likeness", "copies")  # topics without which nothing is good


def bottom_line(statements: Sequence[Statement]) -> Statement:
    """The headline that comes first in HEADLINES, a colon, and every topic's clause, what is bad first.

    Its status is the worst of its parts; good only where likeness and copying were measured.
    """
    said = [one for one in statements if one.topic]
    asked = [name for name in HEADLINES if any(one.headline == name for one in said)]
    lead = asked[0] if asked else "unknown"
    leading = next((one for one in said if one.headline == lead), None)
    headline = HEADLINES[lead].format(clause=leading.clause if leading else "")
    clauses = dict.fromkeys(
        one.clause
        for one in sorted(said, key=lambda one: (one.topic != "condition", RANK[one.status], _order(one.topic)))
        if one.clause and not (one is leading and "{clause}" in HEADLINES[lead])
    )
    topics = {one.topic for one in said}
    status: Status = min((one.status for one in said), key=RANK.__getitem__, default="open")
    if status in ("good", "fact") and not all(topic in topics for topic in MUST):
        status = "open"
    text = "; ".join(clauses)
    text = headline + (("; " if ":" in headline else ": ") + text if text else "")
    return Statement(status, text + ".")


def _order(topic: str) -> int:
    return TOPICS.index(topic) if topic in TOPICS else len(TOPICS)
