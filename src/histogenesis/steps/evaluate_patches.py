"""Compare crops of the synthetic slides with held-out real patches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from histogenesis.evaluation.collect import checked_splits, held_out_split, real_sources, synthetic_folders
from histogenesis.evaluation.condition import measure_condition
from histogenesis.evaluation.crops import CanvasSource
from histogenesis.evaluation.evaluate import evaluate
from histogenesis.evaluation.evaluate_copies import guarded
from histogenesis.evaluation.evaluate_fragments import fragment_metrics
from histogenesis.evaluation.evaluate_pfid import pfid_metrics
from histogenesis.evaluation.evaluate_seams import seam_metrics
from histogenesis.evaluation.evidence import write_evidence
from histogenesis.evaluation.files import write_json, write_metrics
from histogenesis.evaluation.job import collect, load_encoders
from histogenesis.evaluation.membership import measure_membership
from histogenesis.evaluation.training_patches import OnDisk
from histogenesis.metrics.coherence.coherence import LevelTiles
from histogenesis.recipe import Evaluation


def evaluate_patches(
    *,
    patches: Path,
    splits: Path,
    synthetic: Path,
    out: Path,
    records: Path | None = None,
    model: Path | None = None,
    run_dir: Path | None = None,
    options: Evaluation = Evaluation(),
    tiles: Sequence[LevelTiles] = (),
    min_tissue: float = 0.1,
    seed: int = 1,
) -> None:
    """Compare crops of the synthetic slides with held-out real patches: distances, manifold, copies, each beside its floor.

    Writes metrics.json and .csv, memorisation.json, closest_pairs.png and features/ into one folder. Raises BadInput for
    patches, splits or slides that cannot be compared.

    patches: folder of the patch set: {slide}.h5
    splits: splits.tsv
    synthetic: folder of the synthetic slides: {slide}/level0.h5, ...
    out: folder of the results
    records: folder of the slides' records, for patch FID and seams; without it there are none
    model: folder of the model that drew; without it no membership inference
    run_dir: the run's folder; phantoms lie there
    options: the recipe's section `evaluation`
    tiles: of each level: tile_px, joining, constraint
    min_tissue: the patch set's
    seed: of the choice of crops
    """
    encoders = load_encoders(options)
    sets = collect(patches, splits, synthetic, options, min_tissue, seed, records, run_dir)
    tissue = (run_dir or out.parent) / "tissue"
    patch_px = sets.train.images.shape[1]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "condition.json", measure_condition(sets, synthetic, tissue, patch_px, seed))
    rows = checked_splits(splits)
    split = held_out_split(rows)
    also: dict[str, Callable] = {}
    if records:
        folder = run_dir or records.parent
        also["seams"] = partial(of_slides, records, folder, rows, synthetic, encoders, sets, tiles, options, seed)
    if model and options.membership_images:
        images = options.membership_images
        also["membership"] = partial(guarded, measure_membership, model, patches, splits, split, images, seed)
    found = evaluate(sets, encoders, options, out, seed, OnDisk(patches, splits), also)
    if "membership" in found:
        write_json(out / "memorisation.json", found["memorisation"] | {"membership": found["membership"]})
    write_json(out / "evidence.json", write_evidence(out, sets, [encoder.name for encoder in encoders]))
    found["metrics"] += fragment_metrics(synthetic, tissue, rows) + found.get("seams", [])
    write_metrics(out, found["metrics"])
    print(found["memorisation"]["sentence"])


def of_slides(records, run_dir, splits, synthetic, encoders, sets, tiles, options: Evaluation, seed: int) -> list[dict]:
    """Entries of metrics.json of crops of whole slides, real and synthetic: seams, and patch FID."""
    train, held_out = (real_sources(records, run_dir, splits, side) for side in ("train", held_out_split(splits)))
    canvases = [CanvasSource(folder) for folder in synthetic_folders(synthetic)]
    patch_px = sets.train.images.shape[1]
    found = seam_metrics(encoders, [*train, *held_out], canvases, list(tiles), patch_px, options, seed)
    if options.pfid_crops:
        mpps = sorted(set(sets.generated.mpp.tolist()), reverse=True)
        crop_px = options.pfid_px or patch_px
        found += pfid_metrics(encoders, train, held_out, canvases, mpps, crop_px, options, seed)
    return found
