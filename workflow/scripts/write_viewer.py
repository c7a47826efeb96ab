"""The viewer of a run as a folder that opens from any static file server: deep zoom into every synthetic slide and level."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.study.viewer.run import RunImages
from histogenesis.study.viewer.serve import write_folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", type=Path, required=True, help="results/{run}")
    parser.add_argument("--real", action="store_true", help="real slides beside the synthetic ones")
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    args = parser.parse_args()
    try:
        print(write_folder(RunImages(args.run_dir, args.real), args.out), "tiles")
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
