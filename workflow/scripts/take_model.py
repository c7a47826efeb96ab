"""Take a model that another run has trained: its two files are copied as they are, after a look whether they fit.

What it does not have yet (weights, or the mpps that this recipe draws) ends in one line that says so.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from pydantic import TypeAdapter

from histogenesis.core.errors import BadInput
from histogenesis.core.files import written
from histogenesis.models.model import load_model
from histogenesis.models.shipped import FILES, folder_of
from histogenesis.recipe import AnyLevel
from histogenesis.recipe.identity import section_text
from histogenesis.recipe.taken import check_fits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the model's folder in the other run, or a model that ships")
    parser.add_argument(
        "--levels",
        type=section_text,
        default="[]",
        help="JSON list: [a level's section, ratio of the mpp above to its own]",
    )
    parser.add_argument("--out", type=Path, required=True, help="the model's folder in this run")
    args = parser.parse_args()
    try:
        folder = folder_of(args.model)
        load_model(folder)
        facts = json.loads((folder / "model.json").read_text())
        for level, ratio in json.loads(args.levels):
            check_fits(folder, facts, TypeAdapter(AnyLevel).validate_python(level), args.out.name, ratio)
    except BadInput as error:
        sys.exit(f"error: {error}")
    for name in FILES:
        with written(args.out / name) as part:
            shutil.copyfile(folder / name, part)


if __name__ == "__main__":
    main()
