"""Sections as one HTML page that opens alone. What lies in this folder beside this module goes into every page."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import jinja2

from histogenesis.report.blocks import Section, relative_address

HERE = Path(__file__).parent
SCRIPTS = ("sortable/sortable.min.js", "sortable/sortable.a11y.min.js", "page.js")


def render(sections: list[Section], name: str, folder: Path) -> str:
    """The page as HTML; `folder` is where it will lie, for the addresses of files. It may ask for nothing: its policy allows
    pictures within the page, its own style and its own three scripts (sortable 4.1.7, tables; page.js, pictures)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [(HERE / script).read_text().strip() for script in SCRIPTS]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
    return environment.get_template("template.html.j2").render(
        sections=sections,
        name=name,
        style=(HERE / "style.css").read_text(),
        scripts=scripts,
        policy=policy + " ".join(f"'sha256-{digest}'" for digest in digests),
        address=lambda file: relative_address(file, folder),
    )
