"""Read labelled patches that were cut elsewhere (image files, PatchCamelyon's HDF5, Kaggle's copy) into one patch file.
Their centres are taken, and averaged down where the recipe asks for less."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.patches.labelled import read_labelled_set
from histogenesis.recipe import LabelledPatches
from histogenesis.recipe.identity import section_text
from histogenesis.slides.table import slide_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--options", type=section_text, required=True, help="the recipe's section of this patch set, as JSON"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the choice, where only some of each class are taken")
    parser.add_argument("--out", type=Path, required=True, help="{set}.h5")
    arguments = parser.parse_args()
    options = LabelledPatches.model_validate_json(arguments.options)
    try:
        cut = read_labelled_set(arguments.out.stem, slide_path(options.path), options, arguments.seed, arguments.out)
    except BadInput as error:
        sys.exit(f"error: {error}")
    labels = cut.texts["label"]
    counts = ", ".join(f"{labels.count(label)} {label}" for label in sorted(set(labels)))
    print(f"{cut.slide}: {len(labels)} patches ({counts}) in {len(set(cut.texts['group']))} groups")
    if not options.mpps:
        print(f"{cut.slide}: the mpp of these patches is not known; the recipe does not state it", file=sys.stderr)


if __name__ == "__main__":
    main()
