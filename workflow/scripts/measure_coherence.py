"""Seam score and cross-scale error of each level of a synthetic slide, as coherence.json.

Reads level0.h5, level1.h5, ... and the tissue plan; --tiles says how each level was drawn.
"""

import argparse
import json
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.core.files import write_json
from histogenesis.metrics.coherence.coherence import LevelTiles, measure_coherence
from histogenesis.recipe import Evaluation
from histogenesis.recipe.identity import section_text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels-dir", type=Path, required=True, help="folder of level0.h5, level1.h5, ...")
    parser.add_argument("--plan", type=Path, required=True, help="plan.png: tissue, one px for each px of level 0")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `evaluation`, as JSON")
    parser.add_argument(
        "--tiles",
        type=section_text,
        required=True,
        help='JSON list, one entry a level: {"tile_px": .., "joining": .., "constraint": ..}',
    )
    parser.add_argument("--out", type=Path, required=True, help="coherence.json")
    args = parser.parse_args()
    options = Evaluation.model_validate_json(args.options)
    tiles = [LevelTiles.model_validate(level) for level in json.loads(args.tiles)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = measure_coherence(args.levels_dir, args.plan, options.seam_shifts, tiles, args.out.parent)
    except BadInput as error:
        sys.exit(f"error: {error}")
    write_json(args.out, found)


if __name__ == "__main__":
    main()
