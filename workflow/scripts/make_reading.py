"""Make a reader study: the folder that readers receive, and the key, which they do not."""

import argparse
import sys
from pathlib import Path

from pydantic import TypeAdapter

from histogenesis.core.errors import BadInput
from histogenesis.recipe.identity import section_text
from histogenesis.recipe.reading import AnyReaderStudy
from histogenesis.steps.reading import make_reading

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--run-dir", type=Path, required=True, help="results/{run}")
parser.add_argument("--name", required=True, help="of the reader study")
parser.add_argument(
    "--options", dest="section", type=section_text, required=True, help="the recipe's section reading/NAME"
)
parser.add_argument("--slides", nargs="*", default=[], help="names of synthetic slides")
parser.add_argument("--mpps", nargs="*", type=float, default=[], help="of their levels")
parser.add_argument("--samples", type=Path, help="samples.h5, for a survey")
parser.add_argument("--patches", type=Path, help="folder of the patch set that they are compared with")
parser.add_argument("--splits", type=Path, help="splits.tsv of that patch set")
parser.add_argument("--out", type=Path, required=True, help="the readers' folder")
parser.add_argument("--key", type=Path, required=True, help="key.json")
if __name__ == "__main__":
    args = vars(parser.parse_args())
    args["section"] = TypeAdapter(AnyReaderStudy).validate_json(args["section"])
    try:
        print(*make_reading(**args), sep="\n")
    except BadInput as error:
        sys.exit(f"error: {error}")
