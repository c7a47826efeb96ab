"""Check one slide and record what it is."""

from __future__ import annotations

import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.core.files import write_json
from histogenesis.slides.table import SlideRow, register


def register_slide(
    *, row: SlideRow, run_dir: Path, out: Path, max_damaged: float = 0.1, stop_on_bad: bool = False
) -> None:
    """Check one slide and record what it is: size, mpp, vendor, sha256.

    A slide that cannot be used gets a record with its error, so that the rest goes on; or raises BadInput.

    row: the slide's row of the slide table
    run_dir: the run's folder; phantoms lie there
    out: record.json
    max_damaged: share of places that may not decode
    stop_on_bad: a slide that cannot be used is an error
    """
    record = register(row, run_dir, max_damaged)
    for warning in record["warnings"]:
        print(f"{record['slide']}: {warning}", file=sys.stderr)
    if record["error"]:
        if stop_on_bad:
            raise BadInput(record["error"])
        print(f"set aside: {record['error']}", file=sys.stderr)
    write_json(out, record)
