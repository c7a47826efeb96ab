"""All sentences of the verdict, in the order of what a reader needs first."""

from __future__ import annotations

from collections.abc import Iterator

from histogenesis.report.blocks import Statement
from histogenesis.report.found import Run
from histogenesis.report.readers import reader_statements
from histogenesis.report.studies import sample_statements
from histogenesis.report.verdict import agreement, copying, likeness, material

# Parts that metrics.json may hold: words in a metric's name, and what is not known without it.
PARTS = {
    ("utility", "accuracy"): "whether they are of use to train a classifier",
    ("reader",): "what pathologists say (blinded reader study)",
}
OF_SLIDES = (
    likeness.condition,
    copying.copies,
    likeness.likeness,
    likeness.cells,
    likeness.colours,
    agreement.tiles,
    agreement.scales,
)
ALWAYS = (material.set_aside, material.skipped, material.tissue)


def statements(run: Run) -> list[Statement]:
    """The sentences; of samples alone, those that speak of samples."""
    if run.samples and not run.synthetic:
        held_out = material.held_out(run) if run.slides else []
        rest = [one for make in (material.learning, *ALWAYS) for one in make(run)]
        return [*sample_statements(run), *reader_statements(run), *held_out, *rest, *_missing(run)]
    found = [one for make in OF_SLIDES for one in make(run)] if run.synthetic else []
    found[1:1] = sample_statements(run)
    found += reader_statements(run)
    rest = [one for make in (material.held_out, material.drawn, material.learning, *ALWAYS) for one in make(run)]
    return [*found, *rest, *_missing(run)]


def _missing(run: Run) -> Iterator[Statement]:
    names = " ".join(str(row.get("name", "")).lower() for row in run.metrics)
    names += " ".join(str(row["name"]) for one in run.samples for row in one.metrics)
    names += " reader" * bool(run.reading)
    names += " utility" * any(one.utility for one in run.samples)
    missing = [what for words, what in PARTS.items() if not any(word in names for word in words)]
    if not run.memorisation and not run.samples:
        missing.insert(0, "whether the model copies its training patches (memorisation)")
    if missing:
        yield Statement("open", "Not measured in this run: " + "; ".join(missing) + ".")
    for problem in run.problems:
        yield Statement("bad", f"{problem}.", None, "material", "files of the run could not be read")
