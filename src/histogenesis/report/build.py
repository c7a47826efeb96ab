"""report.html: one page, self-contained, that a pathologist and a reviewer both read."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import jinja2

from histogenesis.report import material, numbers, results, studies
from histogenesis.report.blocks import Section, relative_address
from histogenesis.report.gather import gather

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("sortable/sortable.min.js", "sortable/sortable.a11y.min.js", "page.js")

# In the order of the page. Each takes the run and returns a Section, or None when there is nothing to say. The verdict
# is made last, since it names what the others could not read.
SECTIONS = [
    results.synthetic,
    results.contact_sheets,
    studies.study,
    studies.samples,
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
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".tmp")
    unfinished.write_text(page, encoding="utf-8")
    os.replace(unfinished, out)
    return sections[0].blocks[0].line.text


def render(sections: list[Section], name: str, folder: Path) -> str:
    """The page as HTML; `folder` is where it will lie, for the addresses of files. It may ask for nothing: its policy allows
    pictures within the page, its own style and its own three scripts (sortable 4.1.7, tables; page.js, pictures)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [(ASSETS / script).read_text().strip() for script in SCRIPTS]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    return environment.get_template("template.html.j2").render(
        sections=sections,
        name=name,
        style=(ASSETS / "style.css").read_text(),
        scripts=scripts,
        policy=policy + " ".join(f"'sha256-{digest}'" for digest in digests),
        address=lambda file: relative_address(file, folder),
    )
