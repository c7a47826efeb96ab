"""Take patches that another generator has made, or patches of its slides, to be judged as drawn ones are."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.recipe import BroughtSamples
from histogenesis.recipe.identity import section_text
from histogenesis.slides.table import slide_path
from histogenesis.steps.take_samples import take_samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the samples, as in the recipe")
    parser.add_argument(
        "--options", type=section_text, required=True, help="the recipe's section of these samples, as JSON"
    )
    parser.add_argument("--size-px", type=int, required=True, help="of the patches that they are compared with")
    parser.add_argument("--mpp", type=float, help="where the section states none")
    parser.add_argument("--out", type=Path, required=True, help="samples.h5; samples.png is written beside it")
    args = parser.parse_args()
    section = BroughtSamples.model_validate_json(args.options)
    try:
        count = take_samples(args.name, slide_path(section.source), section, args.size_px, args.mpp, args.out)
    except BadInput as error:
        sys.exit(f"error: {error}")
    print(f"{args.name}: {count} patches of {args.size_px} px taken from {section.source}")


if __name__ == "__main__":
    main()
