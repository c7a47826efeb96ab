"""The report of a run: one self-contained report.html, with the verdict first and every number linked to its file.

Reads whatever the run's folder holds; parts that are missing are named as not measured. Prints the bottom line.
"""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.report.build import build_report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, required=True, help="results/{run}")
    parser.add_argument("--out", type=Path, required=True, help="report.html")
    args = parser.parse_args()
    try:
        print(build_report(args.run_dir, args.out))
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
