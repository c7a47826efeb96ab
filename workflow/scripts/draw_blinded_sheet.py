"""A blinded sheet at one mpp: as many held-out real crops as generated ones, shuffled; the key lies beside it (.key.tsv).

Example: python workflow/scripts/draw_blinded_sheet.py --patches results/demo/patches/cells --splits results/demo/splits.tsv
--levels-dir results/demo/synthetic/synthetic_1 --mpp 0.5 --out sheet.png
"""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.study.blinded_sheet import write_blinded_sheet

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--patches", type=Path, required=True, help="folder of a patch set, one HDF5 file a slide")
parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
parser.add_argument("--levels-dir", type=Path, required=True, help="folder of level0.h5, ... and plan.png")
parser.add_argument("--mpp", type=float, required=True)
parser.add_argument("--each", type=int, default=20, help="so many of each kind")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--out", type=Path, required=True, help="a PNG")
if __name__ == "__main__":
    try:
        write_blinded_sheet(**vars(parser.parse_args()))
    except BadInput as error:
        sys.exit(f"error: {error}")
