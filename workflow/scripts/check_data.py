"""The data gate, before training: counts what every level, model and class has to learn from and what is held out of it.
Refused where what is drawn has nothing; every slide set aside, every warning and skipped mpp is in the JSON, with counts."""

import argparse
import json
import sys
from pathlib import Path

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.models.shipped import stain_of
from histogenesis.patches.gate import Counted, gate_data
from histogenesis.recipe.identity import section_text
from histogenesis.slides.table import rows_of
from histogenesis.tissue.files import write_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True, help="holds slides/, tissue/, patches/")
    parser.add_argument("--table", help="slides.tsv")
    parser.add_argument("--phantoms", type=section_text, default="[]", help="the recipe's phantoms, as a JSON list")
    parser.add_argument(
        "--sets", type=section_text, required=True, help="JSON: patch set -> whether it is cut from slides"
    )
    parser.add_argument("--needs", type=section_text, required=True, help="JSON: what the recipe asks of its data")
    parser.add_argument("--limits", type=section_text, required=True, help="the recipe's section `gate`, as JSON")
    parser.add_argument(
        "--start",
        nargs=2,
        action="append",
        default=[],
        help="a patch set, and the model from which training on it starts",
    )
    parser.add_argument("--out", type=Path, required=True, help="data.json")
    args = parser.parse_args()
    given = config.Slides(table=args.table, phantoms=json.loads(args.phantoms))
    try:
        rows = rows_of(given, args.run_dir.name)
        slides = [row.slide for row in rows]
        records = {name: json.loads((args.run_dir / f"slides/{name}.json").read_text()) for name in slides}
        qc = {name: json.loads((args.run_dir / f"tissue/{name}/qc.json").read_text()) for name in slides}
        sets = {}
        for name, from_slides in json.loads(args.sets).items():
            folder = args.run_dir / "patches" / name
            files = [folder / f"{one}.h5" for one in (slides if from_slides else [name])]
            sets[name] = Counted(name, folder, (args.run_dir if from_slides else folder) / "splits.tsv", files)
    except BadInput as error:
        sys.exit(f"error: {error}")
    unstated = [row.slide for row in rows if not row.patient_stated]
    of_he = [patch_set for patch_set, start in args.start if stain_of(start) == "H&E"]
    found = gate_data(records, qc, sets, json.loads(args.needs), json.loads(args.limits), unstated, of_he)
    for warning in found["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"data: {found['summary']}", file=sys.stderr)
    if found["errors"]:
        sys.exit("error: the data do not hold what the recipe asks: " + " | ".join(found["errors"]))
    write_text(args.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
