"""Give level 0 of a synthetic slide: a region of a real slide at the recipe's mpp, under which the levels below are drawn."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.recipe import GivenLevel
from histogenesis.recipe.identity import section_text
from histogenesis.steps.give_level import give_level


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="the real slide's record.json")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run's folder; phantoms lie there")
    parser.add_argument("--tissue", type=Path, required=True, help="the real slide's tissue folder")
    parser.add_argument("--options", type=section_text, required=True, help="the recipe's level section, as JSON")
    parser.add_argument("--slide", required=True, help="the synthetic slide's name")
    parser.add_argument("--out", type=Path, required=True, help="level0.h5")
    args = parser.parse_args()
    section = GivenLevel.model_validate_json(args.options)
    try:
        give_level(args.record, args.run_dir, args.tissue, section, args.slide, args.out)
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
