"""What a run of a recipe would do, and why, in a screenful; runs nothing."""

import argparse
from pathlib import Path

EXAMPLES = """\
  histogenesis plan recipe.yaml
  histogenesis plan recipe.yaml -- --config accept_missing=true    # what follows -- is for snakemake"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)


def run(args: argparse.Namespace) -> None:
    from histogenesis.provenance.plan import plan

    print(plan(args.recipe, args.more))
