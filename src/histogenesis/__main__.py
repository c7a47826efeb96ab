"""`histogenesis`: what one does with a run besides running it."""

import argparse
import json
import sys
from pathlib import Path


def schema(args: argparse.Namespace) -> None:
    """Write the recipe's JSON schema (editors complete and check recipes with it)."""
    from histogenesis.config import Recipe

    args.out.write_text(json.dumps(Recipe.model_json_schema(), indent=2) + "\n")


def check(args: argparse.Namespace) -> None:
    """Check recipes, without running anything."""
    from histogenesis.config import load_recipe

    for path in args.recipes:
        recipe = load_recipe(path)
        height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
        levels = " -> ".join(f"{level.mpp:g}" for level in recipe.synthetic.levels)
        print(f"{path}: valid. {recipe.synthetic.slides} synthetic slide(s) of {width} x {height} px, {levels} mpp")


def main() -> None:
    parser = argparse.ArgumentParser(prog="histogenesis", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("schema", help=schema.__doc__)
    command.add_argument("--out", type=Path, default=Path("config/recipe.schema.json"))
    command.set_defaults(run=schema)
    command = commands.add_parser("check", help=check.__doc__)
    command.add_argument("recipes", type=Path, nargs="+")
    command.set_defaults(run=check)
    args = parser.parse_args()
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
