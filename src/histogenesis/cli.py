"""`histogenesis`: what one does with a run besides running it."""

import argparse
import json
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput


def schema(args: argparse.Namespace) -> None:
    """Write the recipe's JSON schema (editors complete and check recipes with it)."""
    from histogenesis.recipe import recipe_schema

    args.out.write_text(json.dumps(recipe_schema(), indent=2) + "\n")


def check(args: argparse.Namespace) -> None:
    """Check recipes, without running anything."""
    from histogenesis.recipe import load_recipe

    for path in args.recipes:
        recipe = load_recipe(path)
        if not recipe.synthetic:
            print(f"{path}: valid. {len(recipe.models)} model(s), {len(recipe.samples)} set(s) of samples")
            continue
        height, width = recipe.synthetic.size_px(len(recipe.synthetic.levels) - 1)
        levels = " -> ".join(f"{level.mpp:g}" for level in recipe.synthetic.levels)
        print(f"{path}: valid. {recipe.synthetic.slides} synthetic slide(s) of {width} x {height} px, {levels} mpp")


def compare(args: argparse.Namespace) -> None:
    """Runs side by side: comparison.html, .csv, .json, and scales.png, the same place at every level of each."""
    from histogenesis.report.compare_page import write_comparison

    write_comparison(args.runs, args.out)
    print(f"Comparison: {args.out / 'comparison.html'}")


def share(args: argparse.Namespace) -> None:
    """Put a finished run into one file (a Workflow Run RO-Crate), for a colleague or for publication."""
    from histogenesis.provenance.share import share

    out = args.out or Path(f"{args.run_dir.resolve().name}.crate.zip")
    digest = share(args.run_dir, out, args.with_real_tissue)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB. Its metadata, which vouches for every file, has sha256 {digest}")


def verify(args: argparse.Namespace) -> None:
    """Check every file of a crate (zip, or the folder it was unpacked to) against its checksum."""
    from histogenesis.provenance.verify import verify

    wrong, digest = verify(args.crate)
    print(*wrong, f"metadata: sha256 {digest}", sep="\n")
    if wrong:
        sys.exit(f"error: {args.crate}: {len(wrong)} file(s) are not as they were when the run was shared")
    print(f"{args.crate}: every file is as it was when the run was shared")


def main() -> None:
    parser = argparse.ArgumentParser(prog="histogenesis", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("schema", help=schema.__doc__)
    command.add_argument("--out", type=Path, default=Path("config/recipe.schema.json"))
    command.set_defaults(run=schema)
    command = commands.add_parser("check", help=check.__doc__)
    command.add_argument("recipes", type=Path, nargs="+")
    command.set_defaults(run=check)
    command = commands.add_parser("compare", help=compare.__doc__)
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="results/{run}; the first one leads")
    command.add_argument("--out", type=Path, default=Path("comparison"), help="folder")
    command.set_defaults(run=compare)
    command = commands.add_parser("share", help=share.__doc__)
    command.add_argument("run_dir", type=Path, help="results/{run}")
    command.add_argument("--out", type=Path, help="default: {run}.crate.zip")
    command.add_argument(
        "--with-real-tissue", action="store_true", help="also patches, overlays and all else that shows real tissue"
    )
    command.set_defaults(run=share)
    command = commands.add_parser("verify", help=verify.__doc__)
    command.add_argument("crate", type=Path)
    command.set_defaults(run=verify)
    args = parser.parse_args()
    try:
        args.run(args)
    except (BadInput, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
