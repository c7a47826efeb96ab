"""What a run will cost before anything of it runs: GPU-hours, jobs, memory, disk, files, for the slides that it names."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from histogenesis.recipe import Model, Recipe
    from histogenesis.steps.estimate import Estimate
    from histogenesis.steps.work import Speed

EXAMPLES = """\
  histogenesis estimate config/harb.yaml
  histogenesis estimate recipe.yaml --tissue 0.3    # share of the slides that is tissue
  histogenesis estimate recipe.yaml --measure       # time on this machine, from a few evaluations of the network here
  histogenesis estimate recipe.yaml --json          # for programs"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--tissue", type=float, default=0.5, help="share of slides and canvases that is tissue (0.5)")
    parser.add_argument("--measure", action="store_true", help="measure this machine's speed with the first model")
    parser.add_argument("--no-jobs", action="store_true", help="do not ask Snakemake how many jobs there are")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> None:
    from histogenesis.commands.check import with_its_table
    from histogenesis.commands.run import command
    from histogenesis.recipe import load_recipe
    from histogenesis.steps import estimate as step
    from histogenesis.steps.work import CARDS

    recipe = with_its_table(load_recipe(args.recipe))
    found = step.estimate(recipe, Path("results", recipe.run), args.tissue)
    found.jobs = None if args.no_jobs else step.jobs(command(args.recipe))
    models = [model for model in recipe.trained_models.values() if model.denoises]
    speeds = {"this machine": measured(recipe, models[0], found)} if args.measure and models else CARDS
    hours = {name: found.hours(speed) for name, speed in speeds.items()}
    precisions = found.precisions
    if args.json:
        totals = {
            "jobs": found.jobs,
            "files": found.files,
            "disk_gb": found.disk_gb,
            "peak_disk_gb": found.peak_disk_gb,
        }
        parts = [asdict(part) for part in found.parts]
        taken = {name: h if isfinite(h) else None for name, h in hours.items()}
        print(json.dumps({"parts": parts, "hours": taken, "precisions": precisions, **totals}, indent=1))
        return
    width = max([27, *(len(part.what) for part in found.parts)]) + 1
    print(
        f"{'':<{width}}{'count':>12}{'evaluations':>14}{'PFLOP':>12} in  {'TB':>11}{'memory GB':>11}{'disk GB':>10}"
        f"{'state GB':>10}"
    )
    for part in found.parts:
        print(
            f"{part.what:<{width}}{part.count:>12,.0f}{part.evaluations:>14,.0f}{part.flop / 1e15:>12,.4g}"
            f" {part.precision if part.flop else '':4}{part.bytes / 1e12:>11,.4g}{part.memory_gb:>11.1f}{part.disk_gb:>10.3g}"
            f"{part.state_gb:>10.3g}"
        )
    print(f"\n{found.flop / 1e15:,.4g} PFLOP: " + ", ".join(in_words(name, h) for name, h in hours.items()))
    print(f"Each part takes as long as its FLOP or, where that is longer, its bytes. {in_precisions(precisions)}")
    print(f"disk: {found.disk_gb:,.3g} GB stay, {found.peak_disk_gb:,.3g} GB at most; about {found.files:,} files")
    if found.jobs is not None:
        print(f"jobs: {found.jobs:,}")


def measured(recipe: Recipe, model: Model, found: Estimate) -> Speed:
    """Of this machine, in the precisions that the recipe asks for; what is measured has waited for memory already."""
    import torch

    from histogenesis.steps.estimate import learnt_px
    from histogenesis.steps.work import Speed, measured_speed

    device, px = "cuda" if torch.cuda.is_available() else "cpu", learnt_px(recipe, model) // model.latent_px
    speeds = {precision: measured_speed(model, px, device, precision) for precision in found.precisions}
    plain = speeds.get("fp32", inf)
    return Speed(speeds.get("bf16", inf), plain, plain, inf)


def in_words(name: str, hours: float) -> str:
    return f"{hours:,.3g} h on one {name}" if isfinite(hours) else f"not on one {name}, which has no bf16"


def in_precisions(shares: dict[str, float]) -> str:
    """How much of the FLOP is in which precision, and at which speed that is counted."""
    if not shares.get("fp32"):
        return "All of it in bf16."
    return (
        f"{shares['fp32']:.0%} of the FLOP are in fp32: convolutions are counted at the card's speed in TF32, as PyTorch has"
        " cuDNN do them where the card can, and matrix products in plain fp32."
    )
