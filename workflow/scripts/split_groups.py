"""Choose which groups of a labelled patch set are held out, and write its splits.tsv. Groups are kept together; a picture
that would be on both sides is refused."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.patches.groups import split_groups
from histogenesis.patches.splits import write_splits
from histogenesis.recipe import Split
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=Path, required=True, help="the patch file, of read_labelled.py")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `split`, as JSON")
    parser.add_argument("--out", type=Path, required=True, help="splits.tsv")
    arguments = parser.parse_args()
    try:
        write_splits(arguments.out, split_groups(arguments.patches, Split.model_validate_json(arguments.options)))
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
