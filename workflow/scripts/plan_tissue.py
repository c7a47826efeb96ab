"""Find the tissue of a drawn level 0: what the finer levels refine; the rest is filled with the background colour found.
Writes a mask of one pixel for each of level 0, and plan.json with the background colour."""

import argparse
import sys
from pathlib import Path

from histogenesis import recipe as config
from histogenesis.recipe.identity import section_text
from histogenesis.tissue.plan import plan_tissue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--level", type=Path, required=True, help="level0.h5, the drawn canvas")
    parser.add_argument(
        "--options", type=section_text, default="{}", help="the recipe's section `synthetic.plan`, as JSON"
    )
    parser.add_argument("--mask", type=Path, required=True, help="plan.png")
    parser.add_argument("--out", type=Path, required=True, help="plan.json")
    parser.add_argument("--picture", type=Path, help="level 0 with the plan outlined, PNG")
    arguments = parser.parse_args()
    options = config.TissuePlan.model_validate_json(arguments.options)
    plan = plan_tissue(arguments.level, options, arguments.mask, arguments.out, arguments.picture)
    for warning in plan["warnings"]:
        print(f"{plan['slide']}: {warning}", file=sys.stderr)


if __name__ == "__main__":
    main()
