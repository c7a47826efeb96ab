"""Check one slide and record what it is: size, mpp, vendor, sha256.
A slide that cannot be used gets a record with its error, so that the rest goes on; --stop-on-bad ends the run instead."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.files import write_json
from histogenesis.recipe.identity import section_text
from histogenesis.slides.table import SlideRow, register


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", type=section_text, required=True, help="the slide's row of the slide table, as JSON")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run's folder; phantoms lie there")
    parser.add_argument("--max-damaged", type=float, default=0.1, help="share of places that may not decode")
    parser.add_argument("--out", type=Path, required=True, help="record.json")
    parser.add_argument("--stop-on-bad", action="store_true", help="a slide that cannot be used is an error")
    arguments = parser.parse_args()
    record = register(SlideRow.model_validate_json(arguments.row), arguments.run_dir, arguments.max_damaged)
    for warning in record["warnings"]:
        print(f"{record['slide']}: {warning}", file=sys.stderr)
    if record["error"]:
        if arguments.stop_on_bad:
            sys.exit(f"error: {record['error']}")
        print(f"set aside: {record['error']}", file=sys.stderr)
    write_json(arguments.out, record)


if __name__ == "__main__":
    main()
