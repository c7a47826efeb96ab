"""Tell a slide's tissue from its background: mask.png, tissue.geojson, overlay.png, qc.json.
A GeoJSON that a person drew or corrected (--edited) takes the place of the computed mask."""

import argparse
import sys
from pathlib import Path

from histogenesis import recipe as config
from histogenesis.recipe.identity import section_text
from histogenesis.slides.table import slide_path
from histogenesis.tissue.files import segment_slide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="the slide's record.json")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run's folder; phantoms lie there")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `tissue`, as JSON")
    parser.add_argument(
        "--edited", help="GeoJSON from QuPath, in full-resolution pixels; its path is read as a slide's is"
    )
    parser.add_argument("--out-dir", type=Path, required=True, help="where the four files go")
    parser.add_argument("--stop-on-bad", action="store_true", help="a GeoJSON that cannot be used is an error")
    arguments = parser.parse_args()
    options = config.Tissue.model_validate_json(arguments.options)
    edited = slide_path(arguments.edited, arguments.run_dir) if arguments.edited else None
    qc = segment_slide(arguments.record, arguments.run_dir, options, arguments.out_dir, edited)
    if qc["error"]:
        if arguments.stop_on_bad:
            sys.exit(f"error: {qc['error']}")
        print(f"set aside: {qc['error']}", file=sys.stderr)
    for warning in qc["warnings"]:
        print(f"{qc['slide']}: {warning}", file=sys.stderr)


if __name__ == "__main__":
    main()
