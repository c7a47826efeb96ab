"""Reader studies: analyse what readers sent back, plan the number of cases, try to cheat at a study before it is sent."""

import argparse
from pathlib import Path

from histogenesis.core.errors import BadInput

EXAMPLES = """\
  histogenesis study analyse results/demo/reading/pairs/key.json answers/*.json --out analysis
  histogenesis study power --readers 5 --accuracy 0.7            # cases to find that readers tell real from synthetic
  histogenesis study power --within 0.1                          # cases to show that a reader hardly does
  histogenesis study cheat results/demo/reading/pairs/for_readers --key results/demo/reading/pairs/key.json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="WHAT", dest="what")
    one = commands.add_parser("analyse", help="answers and key joined: CSV, a picture, and analysis.json")
    one.add_argument("key", type=Path, help="key.json of the study")
    one.add_argument("answers", type=Path, nargs="+", help="files that readers saved, or folders of them")
    one.add_argument("--out", type=Path, default=Path("analysis"), help="folder")
    one = commands.add_parser("power", help="how many cases a reader study needs")
    one.add_argument("--accuracy", type=float, default=0.65, help="share of right answers that is to be found out")
    one.add_argument(
        "--within", type=float, help="to show instead that a reader who guesses is within this of one half"
    )
    one.add_argument("--readers", type=int, default=1, help="who all see the same cases")
    one.add_argument("--spread", type=float, default=0.1, help="standard deviation of the readers' own accuracies")
    one.add_argument("--power", type=float, default=0.8, help="the wished chance")
    one.add_argument("--alpha", type=float, default=0.05, help="of the test")
    one = commands.add_parser("cheat", help="what a program tells from files, headers, borders and glass alone")
    one.add_argument("folder", type=Path, help="what readers receive")
    one.add_argument("--key", type=Path, required=True, help="key.json of the study")


def run(args: argparse.Namespace) -> None:
    {"analyse": analyse, "power": power, "cheat": cheat}[args.what](args)


def analyse(args: argparse.Namespace) -> None:
    from histogenesis.report.blocks import number_text
    from histogenesis.study.analyse import analyse_files

    files = [file for path in args.answers for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    found = analyse_files(args.key, files, args.out)
    print(*found["problems"], sep="\n", end="\n" if found["problems"] else "")
    for part in found["parts"]:
        if part["kind"] == "rate" or not part["pooled"]["n"]:
            continue
        pooled = part["pooled"]
        text = f"{part['title']}: {pooled['k']} of {pooled['n']} right, W-MAE {number_text(part['weighted_mae'])}"
        print(
            text
            + (f", AUC {number_text(part['auc']['value'])}" if part.get("auc", {}).get("value") is not None else "")
        )
    print(f"{found['readers']} reader(s): {args.out / 'analysis.json'}, readers.csv, answers.csv, analysis.png")


def power(args: argparse.Namespace) -> None:
    from histogenesis.study.power import cases_for, confines, detects, readers_power

    if not (0 < args.power < 1 and 0 < args.alpha < 1 and args.readers > 0 and args.spread >= 0):
        raise BadInput("power and alpha lie between 0 and 1, and there is at least one reader")
    if args.within is not None:
        if not 0 < args.within < 0.5:
            raise BadInput("--within lies between 0 and 0.5")
        n = cases_for(args.power, lambda n: confines(n, args.within, args.alpha))
        goal = f"to show that a reader who guesses is within {args.within:g} of one half"
    elif not 0.5 < args.accuracy < 1:
        raise BadInput("--accuracy lies between 0.5, which is guessing, and 1")
    elif args.readers == 1:
        n = cases_for(args.power, lambda n: detects(n, args.accuracy, args.alpha))
        goal = f"for one reader who is right in {args.accuracy:.0%}"
    else:
        n = cases_for(args.power, lambda n: readers_power(n, args.readers, args.accuracy, args.spread, args.alpha))
        goal = (
            f"for {args.readers} readers who are right in {args.accuracy:.0%} on average, and differ by {args.spread:g}"
        )
    if n is None:
        raise BadInput(
            f"no number of cases gives a chance of {args.power:g} {goal}: more readers are needed, or a larger effect"
        )
    print(f"{n} cases {goal}, with a chance of {args.power:g} (alpha {args.alpha:g})")


def cheat(args: argparse.Namespace) -> None:
    from histogenesis.study.cheat import cheat_at

    for row in cheat_at(args.folder, args.key):
        print(f"{row['channel']:12} AUC {row['auc']:.2f}   p {row['p']:.3f}   ({row['features']} numbers)")
