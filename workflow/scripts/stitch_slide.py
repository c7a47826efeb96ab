"""Turn the finest canvas of a synthetic slide into a pyramidal TIFF that opens in QuPath.
The slide is reopened with OpenSlide and checked (size, levels, mpp, pixels) before it takes its name."""

import argparse
import json
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.recipe import SlideFile
from histogenesis.recipe.identity import section_text
from histogenesis.slides.pyramid import FULL
from histogenesis.slides.write import write_slide


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--level", type=Path, required=True, help="canvas of the finest level, HDF5")
    parser.add_argument(
        "--options", type=section_text, default="{}", help="the recipe's synthetic.file section, as JSON"
    )
    parser.add_argument("--provenance", default="{}", help="run, model and so on, as JSON: written into the slide")
    parser.add_argument("--threads", type=int, help="threads that encode; default: all cores that the job may use")
    parser.add_argument("--out", type=Path, required=True, help="the slide, .tif")
    arguments = parser.parse_args()
    options = SlideFile.model_validate_json(arguments.options)
    try:
        made = write_slide(arguments.level, arguments.out, options, json.loads(arguments.provenance), arguments.threads)
    except BadInput as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.exit(f"error: {error}")
    print(json.dumps(made))


if __name__ == "__main__":
    main()
