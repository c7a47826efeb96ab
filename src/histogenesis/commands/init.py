"""Write a slide table and a recipe for a folder of slides. Asks what is not said by flags, where there is somebody to ask."""

import argparse
import math
import re
import sys
from itertools import pairwise
from pathlib import Path

EXAMPLES = """\
  histogenesis init path/to/slides                               # asks
  histogenesis init path/to/slides --yes                         # asks nothing: the models that ship, tuned to them
  histogenesis init path/to/slides --method harb --finest 0.5 --patient folder --run mine"""

# name: the recipe that is extended, and in words what it is.
METHODS = {
    "tuned": ("tuned.yaml", "the models that ship, tuned to your H&E slides: 0.5 mpp in minutes, on any machine"),
    "overview": ("overview.yaml", "whole slides at low magnification, small enough for a laptop"),
    "harb": ("harb.yaml", "one model from 32 mpp to 0.5: gigapixel slides; needs GPUs (Harb et al. 2024)"),
    "urcdm": ("urcdm.yaml", "nine models in three cascades; needs GPUs (URCDM 2023)"),
}
BY_PATIENT = {"tuned"}  # where there are several; the recipe itself is of one slide, and splits that
PATIENTS = ("slide", "folder", "tcga")
TCGA = re.compile(r"^(TCGA-\w{2}-\w{4})")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slides", type=Path, help="folder of slides, at any depth")
    parser.add_argument(
        "--method", choices=METHODS, help="; ".join(f"{name}: {says}" for name, (_, says) in METHODS.items())
    )
    parser.add_argument(
        "--finest", type=float, metavar="MPP", help="of the last level (overview, harb): 8, 4, 2, 1, 0.5, ..."
    )
    parser.add_argument("--patient", choices=PATIENTS, help="each slide its own; by its folder; by its TCGA barcode")
    parser.add_argument(
        "--names", choices=("number", "file"), default="number", help="of slides: they stand in reports and crates"
    )
    parser.add_argument("--run", default=None, dest="name", help="results are written to results/{RUN}/")
    parser.add_argument("--table", type=Path, default=Path("slides.tsv"))
    parser.add_argument("--recipe", type=Path, default=Path("recipe.yaml"))
    parser.add_argument("--yes", action="store_true", help="ask nothing; what no flag says is as proposed")
    parser.add_argument("--force", action="store_true", help="write over files that are there")


def run(args: argparse.Namespace) -> None:
    from histogenesis.commands.scan import found_in, scanned
    from histogenesis.core.errors import BadInput

    for path in (args.table, args.recipe):
        if path.exists() and not args.force:
            raise BadInput(f"{path}: is there already; name another (--table, --recipe), or write over it (--force)")
    if not args.slides.is_dir():
        raise BadInput(f"{args.slides}: there is no such folder of slides")
    files = found_in(args.slides)
    if not files:
        raise BadInput(
            f"{args.slides}: holds no slides that OpenSlide opens; `histogenesis scan --help` lists their kinds"
        )
    rows = [scanned(path.stem, path) for path in files]
    ask = not args.yes and sys.stdin.isatty()
    patient = args.patient or proposed("How are slides of one patient known?", PATIENTS, patient_of(files), ask)
    method = args.method or proposed("Which recipe?", tuple(METHODS), "overview" if args.finest else "tuned", ask)
    write_table(args.table, args.slides, files, patient, args.names)
    text = recipe_text(args, method, patients(files, patient), rows)
    args.recipe.write_text(text)
    for row in rows:
        if row["problem"]:
            print(f"note: {row['slide']}: {row['problem']}")
    print(
        f"{args.table}: {len(files)} slide(s) of {len(patients(files, patient))} patient(s). Look at the column `patient`:"
    )
    print(
        f"  what is one patient's must not be on both sides of a split.\n{args.recipe}: extends {METHODS[method][0]}. Next:"
    )
    print(
        f"  histogenesis check {args.recipe}\n  histogenesis run {args.recipe} -- --dry-run\n  histogenesis run {args.recipe}"
    )


def proposed(question: str, choices: tuple[str, ...], proposal: str, ask: bool) -> str:
    """The proposal, or what somebody answers instead."""
    while ask:
        answer = input(f"{question} {', '.join(choices)} [{proposal}] ").strip() or proposal
        if answer in choices:
            return answer
    return proposal


def patient_of(files: list[Path]) -> str:
    """By the TCGA barcode, if all names have one; else each slide its own: folders may mean anything."""
    return "tcga" if all(TCGA.match(path.name) for path in files) else "slide"


def named(text: str) -> str:
    """A name as tables want it: letters, digits, and . _ -"""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).lstrip("._-") or "slide"


def patient(path: Path, how: str) -> str:
    match = TCGA.match(path.name) if how == "tcga" else None
    return named(match[1] if match else path.parent.name if how == "folder" else path.stem)


def patients(files: list[Path], how: str) -> set[str]:
    return {patient(path, how) for path in files}


def write_table(table: Path, folder: Path, files: list[Path], how: str, names: str) -> None:
    """slides.tsv, with paths relative to the folder; of two files with one name, each has its folder's before its own."""
    stems = [path.stem for path in files]
    lines = ["slide\tpath\tpatient\tmpp"]
    for k, path in enumerate(files, start=1):
        inside = path.relative_to(folder)
        alone = stems.count(path.stem) == 1
        name = named(path.stem if alone else "-".join(inside.with_suffix("").parts))
        name = name if names == "file" else f"slide-{k:03d}"
        who = name if how == "slide" else patient(path, how)
        lines.append(f"{name}\t{inside.as_posix()}\t{who}\t")
    table.write_text("\n".join(lines) + "\n")


def recipe_text(args: argparse.Namespace, method: str, patients: set[str], rows: list[dict]) -> str:
    """A recipe that says only what differs from the one it extends."""
    from histogenesis.core.errors import BadInput
    from histogenesis.core.home import workflow_home
    from histogenesis.recipe import as_yaml, parse_recipe, read_recipe

    base = METHODS[method][0]
    own = {"extends": base, "run": args.name or named(args.slides.resolve().name)}
    own["slides"] = {"table": str(args.table), "root": str(args.slides)}
    whole = read_recipe(workflow_home() / "config" / base)
    if len(patients) == 1 or method in BY_PATIENT:
        own["split"] = {"by": "patient" if len(patients) > 1 else "region"}
    mpps = [level["mpp"] for level in whole.get("synthetic", {}).get("levels", [])]
    if args.finest and len(whole["patches"]) > 1:
        raise BadInput(f"--finest: {base} has patches of several sets at mpps of their own; change them in the recipe")
    if args.finest and not all(math.isclose(above, 2 * below) for above, below in pairwise(mpps)):
        raise BadInput(
            f"--finest: the levels of {base} do not double, so its mpps belong to each other; change them in the recipe"
        )
    if args.finest:
        own |= ladder(whole, args.finest)
    parse_recipe(read_over(whole, own), str(args.recipe))
    text = as_yaml(own)
    schema = "# yaml-language-server: $schema=" + (workflow_home() / "config/recipe.schema.json").resolve().as_posix()
    return f"{schema}\n# {METHODS[method][1]}. All that is not said here is as in {base}; see `histogenesis check`.\n{text}"


def read_over(whole: dict, own: dict) -> dict:
    from histogenesis.recipe.extending import laid_over

    return laid_over(whole, {key: value for key, value in own.items() if key != "extends"})


def ladder(whole: dict, finest: float) -> dict:
    """Levels that double down to `finest`, as those of the recipe: fewer, or more of its last."""
    from histogenesis.core.errors import BadInput

    levels = whole["synthetic"]["levels"]
    steps = 0
    while levels[0]["mpp"] / 2 ** (steps + 1) >= finest * 0.999:
        steps += 1
    mpp = levels[0]["mpp"] / 2**steps
    if abs(mpp - finest) > 1e-3 * finest:
        near = f"{mpp:g} or {mpp / 2:g}"
        raise BadInput(f"--finest {finest:g}: levels halve the mpp from {levels[0]['mpp']:g} on; give {near}")
    kept = [dict(levels[min(k, len(levels) - 1)]) | {"mpp": levels[0]["mpp"] / 2**k} for k in range(steps + 1)]
    sets = {name: {"mpps": [level["mpp"] for level in kept]} for name in whole["patches"]}
    return {"patches": sets, "synthetic": {"levels": kept}}
