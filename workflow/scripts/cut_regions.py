"""Cut patches from the regions of a slide that a person drew and classified (GeoJSON), at every mpp of a patch set.
Beside them: coordinates that CLAM and TRIDENT read, and a picture of the places."""

import argparse
import sys
from pathlib import Path

from histogenesis.patches.regions import cut_regions
from histogenesis.recipe import RegionPatches
from histogenesis.recipe.identity import section_text
from histogenesis.slides.table import slide_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="the slide's record.json")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run's folder; phantoms lie there")
    parser.add_argument("--regions", help="GeoJSON, relative to the slide root; without it the slide has no regions")
    parser.add_argument(
        "--options", type=section_text, required=True, help="the recipe's section of this patch set, as JSON"
    )
    parser.add_argument("--seed", type=int, default=1, help="of random places")
    parser.add_argument("--out", type=Path, required=True, help="{slide}.h5")
    parser.add_argument("--picture", type=Path, required=True, help="where patches were cut, PNG")
    parser.add_argument("--coords", type=Path, required=True, help="folder: {mpp}mpp/patches/ for CLAM and TRIDENT")
    arguments = parser.parse_args()
    cut = cut_regions(
        arguments.record,
        arguments.run_dir,
        slide_path(arguments.regions, arguments.run_dir) if arguments.regions else None,
        RegionPatches.model_validate_json(arguments.options),
        arguments.seed,
        arguments.out,
        arguments.picture,
        arguments.coords,
    )
    if cut.error:
        print(f"set aside: {cut.error}", file=sys.stderr)
    for mpp, why in cut.skipped.items():
        print(f"{cut.slide}: no patches at {mpp:g} mpp: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
