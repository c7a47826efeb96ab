"""Cut a slide's patches at every mpp of a patch set into one HDF5 file, where there is enough tissue.
Beside it: coordinates that CLAM and TRIDENT read, and a picture of the places."""

import argparse
import sys
from pathlib import Path

from histogenesis import recipe as config
from histogenesis.patches.cut import cut_slide
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="the slide's record.json")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run's folder; phantoms lie there")
    parser.add_argument("--tissue", type=Path, required=True, help="the slide's tissue folder")
    parser.add_argument(
        "--options", type=section_text, required=True, help="the recipe's section of this patch set, as JSON"
    )
    parser.add_argument("--label", help="the class of the slide, and so of each patch")
    parser.add_argument("--seed", type=int, default=1, help="of random places")
    parser.add_argument("--out", type=Path, required=True, help="{slide}.h5")
    parser.add_argument("--picture", type=Path, required=True, help="where patches were cut, PNG")
    parser.add_argument("--coords", type=Path, required=True, help="folder: {mpp}mpp/patches/ for CLAM and TRIDENT")
    arguments = parser.parse_args()
    cut = cut_slide(
        arguments.record,
        arguments.run_dir,
        arguments.tissue,
        config.PatchSet.model_validate_json(arguments.options),
        arguments.seed,
        arguments.out,
        arguments.picture,
        arguments.coords,
        arguments.label,
    )
    if cut.error:
        print(f"set aside: {cut.error}", file=sys.stderr)
    for mpp, why in cut.skipped.items():
        print(f"{cut.slide}: no patches at {mpp:g} mpp: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()
