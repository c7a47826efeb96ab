"""Features of real and generated patches by one encoder, kept for the evaluation."""

from __future__ import annotations

from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.ceilings import reference_sets
from histogenesis.evaluation.job import collect, encoder_names, load_encoders
from histogenesis.evaluation.sets import matched
from histogenesis.metrics.encoders.features import cached
from histogenesis.recipe import Evaluation


def extract_features(
    *,
    patches: Path,
    splits: Path,
    synthetic: Path,
    encoder: str,
    out: Path,
    records: Path | None = None,
    run_dir: Path | None = None,
    options: Evaluation = Evaluation(),
    min_tissue: float = 0.1,
    seed: int = 1,
) -> None:
    """Features of real and generated patches by one encoder, kept as HDF5 for the evaluation.

    What was extracted before, from the same images by the same encoder, is kept. Raises BadInput for another encoder than the
    options have.

    patches: folder of the patch set: {slide}.h5
    splits: splits.tsv
    synthetic: folder of the synthetic slides: {slide}/level0.h5, ...
    encoder: one of the encoders in the options
    out: folder: train.h5, held_out.h5, generated.h5, and of what is made of the first for scale
    records: folder of the slides' records: their codec is read of the slides
    run_dir: the run's folder; phantoms lie there
    options: the recipe's section `evaluation`
    min_tissue: the patch set's
    seed: of the choice of crops
    """
    names = encoder_names(options)
    if encoder not in names:
        raise BadInput(f"encoder {encoder}: the options have {', '.join(names)}")
    only = options.model_copy(update={"encoders": [options.encoders[names.index(encoder)]]})
    sees = load_encoders(only)[0]
    sets = collect(patches, splits, synthetic, options, min_tissue, seed, records, run_dir)
    references = reference_sets(sets, matched(sets, options.images)[0], seed)
    for images in [*sets, *references.values()]:
        if len(images):
            cached(out / f"{images.name}.h5", sees, images, progress=True)
