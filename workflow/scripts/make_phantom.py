"""Make a phantom: a procedural H&E-like slide (pyramidal TIFF) with a known tissue mask (PNG, 10 um/px).
The same options give the same bytes."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.phantom.slide import make_phantom
from histogenesis.recipe import Phantom
from histogenesis.recipe.identity import section_text
from histogenesis.slides.pyramid import FULL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--options", type=section_text, required=True, help="one entry of the recipe's slides.phantoms, as JSON"
    )
    parser.add_argument("--slide", type=Path, required=True, help="the slide, .tif")
    parser.add_argument("--mask", type=Path, required=True, help="the tissue mask, .png")
    parser.add_argument("--threads", type=int, help="default: all cores that the job may use")
    arguments = parser.parse_args()
    try:
        make_phantom(Phantom.model_validate_json(arguments.options), arguments.slide, arguments.mask, arguments.threads)
    except BadInput as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
