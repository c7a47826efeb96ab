"""Of what use generated patches are: what a classifier learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from histogenesis.core.device import compute_with
from histogenesis.core.errors import BadInput
from histogenesis.evaluation.collect import held_out_split
from histogenesis.evaluation.labelled import read_labelled
from histogenesis.evaluation.labelled_sets import MOST, labelled, real_set, sample_set
from histogenesis.evaluation.shared_arm import trained_on_real
from histogenesis.evaluation.tstr import Labelled, tstr
from histogenesis.evaluation.tstr_files import write_tstr
from histogenesis.patches.splits import read_splits


def measure_utility(
    *,
    real: Path,
    generated: Path,
    out: Path,
    test: Path | None = None,
    splits: Path | None = None,
    on_real: Path | None = None,
    network: Literal["resnet50", "small"] = "resnet50",
    seeds: int = 5,
    steps: int = 1000,
    batch: int = 64,
    lr: float = 1e-3,
    seed: int = 1,
    threads: int = 1,
) -> None:
    """Measure the use of generated patches: a classifier trained on real, generated, and both, tested on held-out real ones.

    Writes utility.json (accuracies with intervals, confusion matrices) and utility.png into one folder. A set is a folder with
    a subfolder of images for each class, or a table (.csv, .tsv) with columns file, class and, for real patches, group: the
    patient, or whatever must not be split. Raises BadInput for sets that cannot be used.

    real: real patches to train on: a set; with splits, the folder of a patch set
    generated: generated patches: a set; with splits, a samples.h5
    out: folder of the results
    test: real patches of other patients: a set; not with splits
    splits: splits.tsv, for patch files
    on_real: classifiers trained on these real patches already (train_on_real)
    network: of the classifier
    seeds: trainings of each arm
    steps: of each training, the same in every arm
    batch: patches a step
    lr: learning rate
    seed: the first seed
    threads: CPU threads: another number rounds differently
    """
    if (test is None) == (splits is None):
        raise BadInput("give either --test or --splits")
    compute_with(threads)
    learnt, synthetic, held_out = (
        of_patches(real, generated, splits, seed) if splits else of_files(real, generated, test)
    )
    options: dict[str, Any] = {"network": network, "seeds": seeds, "steps": steps}
    options |= {"batch": batch, "lr": lr, "first_seed": seed}
    shared = trained_on_real(on_real, learnt, options) if on_real else None
    if on_real and shared is None:
        print("the shared classifiers learnt from other patches than these are compared with: trained anew", flush=True)
    found = tstr(learnt, synthetic, held_out, **options, progress=True, on_real=shared)
    write_tstr(out, found)
    for arm, part in found["arms"].items():
        print(f"{arm}: accuracy {part['value']:.3f} ({part['low']:.3f} to {part['high']:.3f})")
    part = found["recognised"]
    print(f"class of generated patches recognised: {part['value']:.3f} ({part['low']:.3f} to {part['high']:.3f})")


def of_files(*sets: Path) -> list[Labelled]:
    """Real patches to train on, generated ones, real ones held out, each from a folder or a table."""
    return [read_labelled(path) for path in sets]


def of_patches(real: Path, generated: Path, splits: Path, seed: int) -> list[Labelled]:
    """The same from a patch set and samples of it."""
    synthetic = sample_set(generated)
    about = float(synthetic.mpp[0]), sorted(set(synthetic.label.tolist())), MOST, seed
    train, held_out = (
        labelled(real_set(real, splits, split, *about)) for split in ("train", held_out_split(read_splits(splits)))
    )
    return [train, labelled(synthetic), held_out]
