"""Compare crops of the synthetic slides with held-out real patches: distances, manifold, copies, each beside its floor.
Writes metrics.json and .csv, memorisation.json, closest_pairs.png and features/ into one folder."""

import argparse
import json
import sys
from pathlib import Path

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.collect import checked_splits, held_out_split, real_sources, synthetic_folders
from histogenesis.evaluation.condition import measure_condition
from histogenesis.evaluation.crops import CanvasSource
from histogenesis.evaluation.evaluate import evaluate, write_json, write_metrics
from histogenesis.evaluation.evaluate_copies import guarded
from histogenesis.evaluation.evaluate_fragments import fragment_metrics
from histogenesis.evaluation.evaluate_pfid import pfid_metrics
from histogenesis.evaluation.evidence import write_evidence
from histogenesis.evaluation.job import collect, load_encoders
from histogenesis.evaluation.membership import measure_membership
from histogenesis.evaluation.training_patches import OnDisk
from histogenesis.metrics.coherence.coherence import LevelTiles
from histogenesis.metrics.coherence.feature_seams import seam_metrics
from histogenesis.recipe import Evaluation
from histogenesis.recipe.identity import section_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=Path, required=True, help="folder of the patch set: {slide}.h5")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument(
        "--synthetic", type=Path, required=True, help="folder of the synthetic slides: {slide}/level0.h5, ..."
    )
    parser.add_argument(
        "--records", type=Path, help="folder of the slides' records, for patch FID and seams; without it there are none"
    )
    parser.add_argument("--model", type=Path, help="folder of the model that drew; without it no membership inference")
    parser.add_argument("--run-dir", type=Path, help="the run's folder; phantoms lie there")
    parser.add_argument("--options", type=section_text, default="{}", help="the recipe's section `evaluation`, as JSON")
    parser.add_argument(
        "--tiles", type=section_text, default="[]", help="of each level: tile_px, joining, constraint, as JSON"
    )
    parser.add_argument("--min-tissue", type=float, default=0.1, help="the patch set's min_tissue")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    arguments = parser.parse_args()
    options = Evaluation.model_validate_json(arguments.options)
    try:
        encoders = load_encoders(options)
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
        tissue = (arguments.run_dir or arguments.out.parent) / "tissue"
        patch_px = sets.train.images.shape[1]
        condition = measure_condition(sets, arguments.synthetic, tissue, patch_px, arguments.seed)
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out / "condition.json", condition)
        training = OnDisk(arguments.patches, arguments.splits)
        found = evaluate(sets, encoders, options, arguments.out, arguments.seed, training)
        if arguments.model:
            held_out = held_out_split(checked_splits(arguments.splits))
            told = guarded(
                measure_membership, arguments.model, arguments.patches, arguments.splits, held_out, arguments.seed
            )
            write_json(arguments.out / "memorisation.json", found["memorisation"] | {"membership": told})
        evidence = write_evidence(arguments.out, sets, [encoder.name for encoder in encoders])
        write_json(arguments.out / "evidence.json", evidence)
        rows = checked_splits(arguments.splits)
        found["metrics"] += fragment_metrics(arguments.synthetic, tissue, rows)
        if arguments.records:
            real = [
                real_sources(arguments.records, arguments.run_dir or arguments.records.parent, rows, split)
                for split in ("train", held_out_split(rows))
            ]
            canvases = [CanvasSource(folder) for folder in synthetic_folders(arguments.synthetic)]
            tiles = [LevelTiles.model_validate(level) for level in json.loads(arguments.tiles)]
            seed = arguments.seed
            found["metrics"] += seam_metrics(encoders, [*real[0], *real[1]], canvases, tiles, patch_px, options, seed)
            if options.pfid_crops:
                mpps = sorted(set(sets.generated.mpp.tolist()), reverse=True)
                crop_px = options.pfid_px or patch_px
                found["metrics"] += pfid_metrics(encoders, *real, canvases, mpps, crop_px, options, seed)
        write_metrics(arguments.out, found["metrics"])
    except BadInput as error:
        sys.exit(f"error: {error}")
    print(found["memorisation"]["sentence"])


if __name__ == "__main__":
    main()
