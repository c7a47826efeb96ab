"""A contact sheet: rows of held-out real patches above rows of synthetic ones, one pair for each level's mpp.

Reads a patch set, splits.tsv, and the levels and plan.png of one synthetic slide.
"""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.core.files import written
from histogenesis.recipe import Evaluation
from histogenesis.recipe.identity import section_text
from histogenesis.report.contact import draw_contact_sheet


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=Path, required=True, help="folder of a patch set, one HDF5 file a slide")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument("--levels-dir", type=Path, required=True, help="folder of level0.h5, ... and plan.png")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `evaluation`, as JSON")
    parser.add_argument(
        "--min-tissue", type=float, default=0.1, help="the patch set's: synthetic patches keep to it too"
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="contact.png")
    args = parser.parse_args()
    options = Evaluation.model_validate_json(args.options)
    try:
        sheet = draw_contact_sheet(
            args.patches, args.splits, args.levels_dir, options.contact_sheet, args.seed, args.min_tissue
        )
    except BadInput as error:
        sys.exit(f"error: {error}")
    with written(args.out) as part:
        sheet.save(part, "png")


if __name__ == "__main__":
    main()
