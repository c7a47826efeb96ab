"""Choose what is held out, whole patients or a part of each slide, and write splits.tsv.
Slides that were set aside are left out; a split that the slide table names wins."""

import argparse
import json
import sys
from pathlib import Path

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.patches.splits import check_copies, split_slides, write_splits
from histogenesis.recipe.identity import section_text
from histogenesis.slides.table import rows_of
from histogenesis.tissue.files import load_tissue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", help="slides.tsv")
    parser.add_argument("--phantoms", type=section_text, default="[]", help="the recipe's phantoms, as a JSON list")
    parser.add_argument("--records", type=Path, required=True, help="folder of {slide}.json")
    parser.add_argument(
        "--tissue", type=Path, help="folder of {slide}/mask.png, to cut regions at a share of the tissue"
    )
    parser.add_argument("--run", required=True, help="the run's name")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `split`, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="splits.tsv")
    arguments = parser.parse_args()
    slides = config.Slides(table=arguments.table, phantoms=json.loads(arguments.phantoms))
    try:
        rows = rows_of(slides, arguments.run)
        records = {row.slide: json.loads((arguments.records / f"{row.slide}.json").read_text()) for row in rows}
        set_aside = {slide for slide, record in records.items() if record["error"]}
        masks = {row.slide: load_tissue(arguments.tissue / row.slide).mask for row in rows} if arguments.tissue else {}
        entries = split_slides(rows, config.Split.model_validate_json(arguments.options), set_aside, masks)
        for warning in check_copies(rows, entries, records):
            print(f"warning: {warning}", file=sys.stderr)
        write_splits(arguments.out, entries)
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
