"""What a run will cost before anything of it runs: GPU-hours, jobs, memory, disk, files, for the slides that it names."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

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
    import torch

    from histogenesis.commands.check import with_its_table
    from histogenesis.commands.run import command
    from histogenesis.recipe import load_recipe
    from histogenesis.steps import estimate as step

    recipe = with_its_table(load_recipe(args.recipe))
    found = step.estimate(recipe, Path("results", recipe.run), args.tissue)
    found.jobs = None if args.no_jobs else step.jobs(command(args.recipe))
    speeds = dict(step.TFLOPS)
    models = [model for model in recipe.trained_models.values() if model.denoises]
    if args.measure and models:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        px = models[0].training.crop_px or recipe.patches[models[0].patches].size_px
        speeds = {"this machine": step.measured_tflops(models[0], px // models[0].latent_px, device)}
    hours = {name: found.hours(tflops) for name, tflops in speeds.items()}
    if args.json:
        totals = {
            "jobs": found.jobs,
            "files": found.files,
            "disk_gb": found.disk_gb,
            "peak_disk_gb": found.peak_disk_gb,
        }
        print(json.dumps({"parts": [asdict(part) for part in found.parts], "hours": hours, **totals}, indent=1))
        return
    print(f"{'':<28}{'count':>12}{'evaluations':>14}{'PFLOP':>12}{'memory GB':>11}{'disk GB':>10}{'state GB':>10}")
    for part in found.parts:
        print(
            f"{part.what:<28}{part.count:>12,.0f}{part.evaluations:>14,.0f}{part.flop / 1e15:>12,.4g}{part.memory_gb:>11.1f}"
            f"{part.disk_gb:>10.3g}{part.state_gb:>10.3g}"
        )
    print(f"\n{found.flop / 1e15:,.4g} PFLOP: " + ", ".join(f"{h:,.3g} h on one {name}" for name, h in hours.items()))
    print(f"disk: {found.disk_gb:,.3g} GB stay, {found.peak_disk_gb:,.3g} GB at most; about {found.files:,} files")
    if found.jobs is not None:
        print(f"jobs: {found.jobs:,}")
