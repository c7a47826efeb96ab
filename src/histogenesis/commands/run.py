"""Run a recipe: Snakemake with the workflow that comes with this package. What follows `--` is given to Snakemake."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
  histogenesis run recipe.yaml
  histogenesis run recipe.yaml slides              # a target: models, slides, evaluation, study, report
  histogenesis run recipe.yaml -- --dry-run        # what would be done
  histogenesis run recipe.yaml --accept-missing    # go on without slides or files that are away
  histogenesis run recipe.yaml -- --profile slurm  # on a cluster"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument(
        "target", nargs="?", default="all", help="what to make; `snakemake --list` says of each what it is"
    )
    parser.add_argument("--cores", help="default: all, where no profile is given")
    accepting(parser)


def accepting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accept-missing",
        action="store_true",
        help="what is away is gone for good: make again without it what was made of it",
    )


def more_of(args: argparse.Namespace) -> list[str]:
    """What is given to Snakemake."""
    return [*(["--config", "accept_missing=true"] if args.accept_missing else []), *args.more]


def run(args: argparse.Namespace) -> None:
    replaced_by(command(args.recipe, args.target, args.cores, more_of(args)))


def replaced_by(words: Sequence[str]) -> None:
    """Become Snakemake. Its jobs call `python`: the one that runs this, also where its environment is not activated."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.execve(words[0], list(words), {**os.environ, "PATH": path})


def command(recipe: Path, target: str = "all", cores: str | None = None, more: Sequence[str] = ()) -> list[str]:
    """Snakemake's words for a recipe. Raises BadInput where there is no workflow, or no Snakemake."""
    from importlib.util import find_spec

    from histogenesis.core.errors import BadInput
    from histogenesis.core.home import snakefile, workflow_home

    if find_spec("snakemake") is None:
        raise BadInput("Snakemake is not installed: pip install 'histogenesis[workflow]'")
    if not recipe.is_file():
        raise BadInput(f"{recipe}: there is no such recipe; `histogenesis init SLIDES` writes one")
    file = snakefile()
    if file is None:
        raise BadInput("the workflow does not lie beside this package: install it from a wheel, or run it from a clone")
    profiles = {"--profile", "--executor", "-e"} & {word.split("=")[0] for word in more}
    counted = [] if profiles and not cores else ["--cores", cores or "all"]
    settings = ["--workflow-profile", str(workflow_home() / "profiles/default")]
    if any(word.startswith("--workflow-profile") for word in more):
        settings = []
    first = [sys.executable, "-m", "snakemake", "--snakefile", str(file), "--configfile", str(recipe)]
    return [*first, *settings, *counted, *more, "--", target]
