"""What a run of a recipe would do, and why, in a screenful; runs nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histogenesis.recipe import Recipe

EXAMPLES = """\
  histogenesis plan recipe.yaml
  histogenesis plan recipe.yaml --accept-missing     # as if what is away were gone for good
  histogenesis plan recipe.yaml -- --forcerun evaluate_patches    # what follows -- is for snakemake"""


def arguments(parser: argparse.ArgumentParser) -> None:
    from histogenesis.commands.run import accepting

    parser.add_argument("recipe", type=Path)
    accepting(parser)


def run(args: argparse.Namespace) -> None:
    from histogenesis.commands.run import more_of
    from histogenesis.provenance.plan import ask_snakemake, written

    planned, notes = ask_snakemake(args.recipe, more_of(args))
    print("\n".join([*notes, *written(planned, hours(planned))]))


def hours(planned: dict) -> float:
    """Of one H100, of the jobs that ask for a GPU."""
    jobs = [job for job in planned["jobs"] if job["gpu"]]
    if not jobs:
        return 0.0
    from histogenesis.recipe import Recipe

    return seconds_of(Recipe.model_validate(planned["recipe"]), jobs) / 3600


def seconds_of(recipe: Recipe, jobs: list[dict]) -> float:
    """Of some jobs of a plan on one H100: rule, wildcards, and share, how much of it is still to be done."""
    from histogenesis.steps.estimate import TISSUE, samples, trainings
    from histogenesis.steps.estimate_drawing import drawings
    from histogenesis.steps.work import CARDS

    card = CARDS["H100"]
    works = {part.what: part.seconds(card) for part in [*trainings(recipe), *samples(recipe)]}
    drawn = [part for part in drawings(recipe, TISSUE) if part.what.startswith("draw level")]
    levels = [part.seconds(card) / part.count for part in drawn]
    total = 0.0
    for job in jobs:
        of = job["wildcards"]
        if job["rule"] == "train_model":
            total += job["share"] * works.get(f"train {of['model']}", 0.0)
        elif job["rule"] == "draw_samples":
            total += works.get(f"samples {of['samples']}", 0.0)
        elif job["rule"] == "draw_level":
            total += levels[int(of["k"])]
    return total
