"""report.html: one page, self-contained, that a pathologist and a reviewer both read."""

from __future__ import annotations

import os
from pathlib import Path

import jinja2

from histogenesis.report import material, results, studies
from histogenesis.report.blocks import Section, relative_address
from histogenesis.report.gather import gather

# In the order of the page. Each takes the run and returns a Section, or None when there is nothing to say. The verdict
# is made last, since it names what the others could not read.
SECTIONS = [
    results.synthetic,
    results.contact_sheets,
    studies.study,
    studies.samples,
    results.memorisation,
    results.metrics,
    results.coherence,
    results.models,
    material.set_aside,
    material.patches,
    material.tissue,
    material.times,
    material.recipe,
    material.made_with,
]


def build_report(run_dir: str | Path, out: str | Path) -> list[Section]:
    """Write the report of results/{run} and return its sections. Raises BadInput when there is no such folder."""
    out = Path(out)
    run = gather(run_dir)
    sections = [section for make in SECTIONS if (section := make(run))]
    sections.insert(0, results.verdict(run))
    page = render(sections, run.name, out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".tmp")
    unfinished.write_text(page, encoding="utf-8")
    os.replace(unfinished, out)
    return sections


def render(sections: list[Section], name: str, folder: Path) -> str:
    """The page as HTML; `folder` is where it will lie, for the addresses of files."""
    here = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("template.html.j2")
    style = (here / "style.css").read_text()
    return template.render(
        sections=sections, name=name, style=style, address=lambda file: relative_address(file, folder)
    )
