"""report.html: one page, self-contained, that a pathologist and a reviewer both read."""

from __future__ import annotations

from pathlib import Path

from histogenesis.core.files import write_text
from histogenesis.report import material, numbers, readers, results, studies
from histogenesis.report.blocks import Verdict
from histogenesis.report.gather import gather
from histogenesis.report.page.render import render

# In the order of the page. Each takes the run and returns a Section, or None when there is nothing to say. The verdict
# is made last, since it names what the others could not read.
SECTIONS = [
    results.synthetic,
    results.contact_sheets,
    studies.study,
    studies.samples,
    readers.readers,
    results.memorisation,
    numbers.numbers,
    results.coherence,
    results.models,
    material.set_aside,
    material.patches,
    material.tissue,
    material.times,
    material.recipe,
    material.made_with,
]


def build_report(run_dir: str | Path, out: str | Path) -> str:
    """Write the report of results/{run} and return its bottom line. Raises BadInput when there is no such folder."""
    out = Path(out)
    run = gather(run_dir)
    sections = [section for make in SECTIONS if (section := make(run))]
    sections.insert(0, results.verdict(run))
    page = render(sections, run.name, out.parent)
    write_text(out, page)
    first = sections[0].blocks[0]
    assert isinstance(first, Verdict)
    return first.line.text
