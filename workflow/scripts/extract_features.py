"""Features of real and generated patches by one encoder, kept as HDF5 for the evaluation.
What was extracted before, from the same images by the same encoder, is kept."""

import argparse
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.job import collect, encoder_names, load_encoders
from histogenesis.evaluation.references import reference_sets
from histogenesis.evaluation.sets import matched
from histogenesis.metrics.encoders.features import cached
from histogenesis.recipe import Evaluation
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=Path, required=True, help="folder of the patch set: {slide}.h5")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument(
        "--synthetic", type=Path, required=True, help="folder of the synthetic slides: {slide}/level0.h5, ..."
    )
    parser.add_argument("--encoder", required=True, help="one of the encoders in the options")
    parser.add_argument("--records", type=Path, help="folder of the slides' records: their codec is read of the slides")
    parser.add_argument("--run-dir", type=Path, help="the run's folder; phantoms lie there")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `evaluation`, as JSON")
    parser.add_argument("--min-tissue", type=float, default=0.1, help="the patch set's min_tissue")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder: train.h5, held_out.h5, generated.h5, and of what is made of the first for scale",
    )
    arguments = parser.parse_args()
    options = Evaluation.model_validate_json(arguments.options)
    names = encoder_names(options)
    try:
        if arguments.encoder not in names:
            raise BadInput(f"--encoder {arguments.encoder}: the options have {', '.join(names)}")
        only = options.model_copy(update={"encoders": [options.encoders[names.index(arguments.encoder)]]})
        encoder = load_encoders(only)[0]
        sets = collect(
            arguments.patches,
            arguments.splits,
            arguments.synthetic,
            options,
            arguments.min_tissue,
            arguments.seed,
            arguments.records,
            arguments.run_dir,
        )
        references = reference_sets(sets, matched(sets, options.images)[0], arguments.seed)
        for images in [*sets, *references.values()]:
            if len(images):
                cached(arguments.out / f"{images.name}.h5", encoder, images, progress=True)
    except BadInput as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
