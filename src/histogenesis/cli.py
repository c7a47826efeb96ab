"""`histogenesis`: what one does with a run besides running it."""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.core.software import package_version

COMMANDS = (
    "init",
    "scan",
    "doctor",
    "check",
    "estimate",
    "plan",
    "site",
    "run",
    "draw",
    "view",
    "study",
)  # a file each, in commands/
EXAMPLES = {
    "schema": "  histogenesis schema --out config/recipe.schema.json --reference docs/reference.md",
    "compare": "  histogenesis compare results/demo results/baseline-bicubic --out comparison",
    "judge": "  histogenesis judge other_generator/patches --mpp 0.5 --run results/demo --out judged\n"
    "  histogenesis judge slide.tif --run results/demo --out judged",
    "share": "  histogenesis share results/demo\n  histogenesis share results/demo --out demo.crate.zip --with-real-tissue",
    "verify": "  histogenesis verify demo.crate.zip\n  histogenesis verify unpacked/",
}


def schema(args: argparse.Namespace) -> None:
    """Write the recipe's JSON schema (editors complete and check recipes with it), and the reference page made from it."""
    from histogenesis.recipe import recipe_schema
    from histogenesis.recipe.reference import reference

    if args.reference:
        args.reference.write_text(reference())
    args.out.write_text(json.dumps(recipe_schema(), indent=2) + "\n")


def compare(args: argparse.Namespace) -> None:
    """Runs side by side: comparison.html, .csv, .json, and scales.png, the same place at every level of each."""
    from histogenesis.report.compare_page import write_comparison

    write_comparison(args.runs, args.out)
    print(f"Comparison: {args.out / 'comparison.html'}")


def share(args: argparse.Namespace) -> None:
    """Put a finished run into one file (a Workflow Run RO-Crate), for a colleague or for publication."""
    from histogenesis.provenance.share import share

    out = args.out or Path(f"{args.run_dir.resolve().name}.crate.zip")
    digest = share(args.run_dir, out, args.with_real_tissue, args.with_names)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB. Its metadata, which vouches for every file, has sha256 {digest}")


def verify(args: argparse.Namespace) -> None:
    """Check every file of a crate (zip, or the folder it was unpacked to) against its checksum."""
    from histogenesis.provenance.verify import verify

    wrong, digest = verify(args.crate)
    print(*wrong, f"metadata: sha256 {digest}", sep="\n")
    if wrong:
        sys.exit(f"error: {args.crate}: {len(wrong)} file(s) are not as they were when the run was shared")
    print(f"{args.crate}: every file is as it was when the run was shared")


def judge(args: argparse.Namespace) -> None:
    """Judge pictures that were made elsewhere (a folder of patches, a slide) against a run's held-out real patches."""
    from histogenesis.evaluation.judge import judge
    from histogenesis.recipe import load_recipe

    recipe = load_recipe(args.run_dir / "recipe.yaml")
    name = args.patches or recipe.compared_patches
    patches = args.run_dir / "patches" / name
    if not patches.is_dir():
        raise BadInput(f"{patches}: no such patch set; name one of this run with --patches")
    splits = next(p for p in (patches / "splits.tsv", args.run_dir / "splits.tsv") if p.is_file())
    own = args.run_dir / "slides", args.run_dir
    tissue = recipe.patches[name].min_tissue
    found = judge(args.pictures, patches, splits, recipe.evaluation, args.out, args.mpp, tissue, recipe.seed, *own)
    print(f"{len(found['metrics'])} numbers: {args.out / 'metrics.json'}", found["memorisation"]["sentence"], sep="\n")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="histogenesis", description=__doc__)
    parser.add_argument(
        "--version", action="version", version=package_version() if "--version" in sys.argv[1:2] else ""
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name in COMMANDS:
        module = import_module(f"histogenesis.commands.{name}")
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.arguments(command)
        command.set_defaults(run=module.run)
        EXAMPLES[name] = module.EXAMPLES
    command = commands.add_parser("schema", help=schema.__doc__)
    command.add_argument("--out", type=Path, default=Path("config/recipe.schema.json"))
    command.add_argument("--reference", type=Path, help="also the page of every key, in Markdown")
    command.set_defaults(run=schema)
    command = commands.add_parser("compare", help=compare.__doc__)
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="results/{run}; the first one leads")
    command.add_argument("--out", type=Path, default=Path("comparison"), help="folder")
    command.set_defaults(run=compare)
    command = commands.add_parser("judge", help=judge.__doc__)
    command.add_argument("pictures", type=Path, help="a folder of images, or a slide that OpenSlide reads")
    command.add_argument(
        "--run", dest="run_dir", type=Path, required=True, help="results/{run}: its real patches and its options"
    )
    command.add_argument("--patches", help="the patch set; default: the one that the run itself is compared with")
    command.add_argument("--mpp", type=float, help="of the pictures, where they do not say it")
    command.add_argument("--out", type=Path, default=Path("judged"), help="folder")
    command.set_defaults(run=judge)
    command = commands.add_parser("share", help=share.__doc__)
    command.add_argument("run_dir", type=Path, help="results/{run}")
    command.add_argument("--out", type=Path, help="default: {run}.crate.zip")
    command.add_argument(
        "--with-real-tissue", action="store_true", help="also patches, overlays and all else that shows real tissue"
    )
    command.add_argument(
        "--with-names", action="store_true", help="also patients, classes and file names, as the slide table has them"
    )
    command.set_defaults(run=share)
    command = commands.add_parser("verify", help=verify.__doc__)
    command.add_argument("crate", type=Path)
    command.set_defaults(run=verify)
    for name, command in commands.choices.items():
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.epilog = f"examples:\n{EXAMPLES[name]}" if name in EXAMPLES else None
    return parser


def parse(words: list[str]) -> argparse.Namespace:
    """What a command is told; what follows `--` (for Snakemake) is `more`."""
    ours = words[: words.index("--")] if "--" in words else words
    return make_parser().parse_args(ours, argparse.Namespace(more=words[len(ours) + 1 :]))


def main() -> None:
    args = parse(sys.argv[1:])
    try:
        args.run(args)
    except (BadInput, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
