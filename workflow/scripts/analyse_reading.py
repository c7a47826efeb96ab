"""Join what readers sent back with the key of their study: analysis.json, answers.csv, readers.csv, analysis.png."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.steps.reading import analyse_reading

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("answers", type=Path, nargs="*", help="the files that readers saved")
parser.add_argument("--key", type=Path, required=True, help="key.json of the study")
parser.add_argument("--out", type=Path, required=True, help="folder")
if __name__ == "__main__":
    try:
        print(*analyse_reading(**vars(parser.parse_args()))["problems"], sep="\n")
    except BadInput as error:
        sys.exit(f"error: {error}")
