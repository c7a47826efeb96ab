"""Look at recipes and all that they name (slides, files, mpps, classes, splits, encoders, models), or at a run's own files."""

import argparse
import sys
from pathlib import Path

EXAMPLES = """\
  histogenesis check recipe.yaml
  histogenesis check recipe.yaml --profile slurm    # also the partitions of the profile, where snakemake is to run
  histogenesis check config/harb.yaml --recipe-only # the keys and values alone
  histogenesis check results/demo --deep            # every byte of a run against what was written; goes on where it was stopped
  histogenesis check results/demo --deep --heal     # and what is damaged is made again"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", type=Path, nargs="+", metavar="RECIPE", help="or results/{run}, with --deep")
    parser.add_argument("--recipe-only", action="store_true", help="look at no slide and no other file")
    parser.add_argument("--deep", action="store_true", help="of a run: compare every byte with what was written")
    parser.add_argument(
        "--heal", action="store_true", help="and make again what is damaged; options of Snakemake after --"
    )
    parser.add_argument("--anew", action="store_true", help="from the start, also where a deep check was stopped")
    parser.add_argument("--profile", help="folder of a Snakemake profile whose partitions are looked up")


def run(args: argparse.Namespace) -> None:
    from histogenesis.recipe import RecipeError, load_recipe

    if args.deep or args.heal:
        from histogenesis.commands.proof import check_run

        for path in args.recipes:
            check_run(path, args.heal, args.anew, args.more)
        return
    wrong = 0
    for path in args.recipes:
        try:
            recipe = load_recipe(path)
        except RecipeError as error:
            print(error, file=sys.stderr)
            wrong += 1
            continue
        found = [] if args.recipe_only else looked_at(recipe, args.profile)
        stops = sum(one.stops for one in found)
        print(*(f"  {one}" for one in found), sep="\n", end="\n" if found else "", file=sys.stderr)
        print(f"{path}: {f'{stops} error(s)' if stops else 'valid'}. {in_a_line(recipe)}")
        wrong += bool(stops)
    if wrong:
        sys.exit(f"error: {wrong} of {len(args.recipes)} recipe(s) cannot be run as they are")


def looked_at(recipe, profile: str | None) -> list:
    from histogenesis.steps.check import check

    return check(with_its_table(recipe), Path("results", recipe.run), profile=profile)


def with_its_table(recipe):
    """The recipe with the path of its slide table, where that is one that comes with the workflow."""
    from histogenesis.core.home import workflow_home

    table, home = recipe.slides.table, workflow_home()
    if not (table and home) or Path(table).exists() or not (home / table).exists():
        return recipe
    return recipe.model_copy(update={"slides": recipe.slides.model_copy(update={"table": str(home / table)})})


def in_a_line(recipe) -> str:
    """What a recipe makes."""
    if not recipe.synthetic:
        return f"{len(recipe.models)} model(s), {len(recipe.samples)} set(s) of samples"
    height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
    levels = " -> ".join(f"{level.mpp:g}" for level in recipe.synthetic.levels)
    return f"{recipe.synthetic.slides} synthetic slide(s) of {width} x {height} px, {levels} mpp"
