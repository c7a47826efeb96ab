"""The image sets that are compared: real training patches, real held-out patches, and crops of the synthetic slides."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.crops import CanvasSource, SlideSource, tissue_places
from histogenesis.metrics.checks import check_apart
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.patches.dataset import PatchCollection, by_mpp
from histogenesis.patches.splits import PART, is_whole, place_of, read_splits

WHOLE = 1e-9


def checked_splits(splits_tsv: str | Path) -> list[dict]:
    """Rows of splits.tsv. Raises BadInput where training and held-out images would
    share a patient and not even lie in different regions of the slide."""
    if not Path(splits_tsv).exists():
        raise BadInput(f"{splits_tsv}: no such file; split the slides first")
    rows = read_splits(Path(splits_tsv))
    train, held_out = ([r for r in rows if (r["split"] == "train") == part] for part in (True, False))
    if not by_region(rows):
        check_apart({r["patient"] for r in train}, {r["patient"] for r in held_out})
        return rows
    for a in train:
        for b in held_out:
            apart = any(
                p[f"{side}_to"] <= q[f"{side}_from"] + WHOLE for side in ("x", "y") for p, q in ((a, b), (b, a))
            )
            if a["slide"] == b["slide"] and not apart:
                raise BadInput(
                    f"{splits_tsv}: slide {a['slide']} is both trained on ({place_of(a) or 'all of it'}) and held out"
                    f" ({place_of(b) or 'all of it'}): its regions must not overlap"
                )
    return rows


def by_region(rows: list[dict]) -> bool:
    """Whether slides were cut in two, for want of a second patient."""
    return not all(map(is_whole, rows))


def held_out_split(rows: list[dict]) -> str:
    """`test` where there is one, else `validation`."""
    names = {r["split"] for r in rows}
    return "test" if "test" in names else "validation"


def real_set(patches: str | Path, splits_tsv: str | Path, split: str, images: int, seed: int) -> ImageSet:
    """At most `images` patches at each mpp, chosen by the seed, in their stored order."""
    collection = PatchCollection(Path(patches), Path(splits_tsv), split)
    mpp, slide = np.asarray(collection.mpp, np.float64), np.asarray(collection.slide).astype(str)
    checked_splits(splits_tsv)
    rng = np.random.default_rng([seed, sum(split.encode())])
    chosen = []
    for rows in reversed(by_mpp(mpp)):
        chosen.append(np.sort(rng.choice(rows, min(images, len(rows)), replace=False)))
    rows = np.concatenate(chosen)
    patient = np.asarray(collection.patient).astype(str)[rows]
    name = "train" if split == "train" else "held_out"
    coords = np.asarray(collection.coords, np.float64)[rows]
    return ImageSet(name, collection.read(rows), mpp[rows], slide[rows], patient, len(collection), xy=coords)


def synthetic_folders(synthetic: str | Path) -> list[Path]:
    """The folders under `synthetic` that hold a drawn slide, by name."""
    folders = sorted(p.parent for p in Path(synthetic).glob("*/level0.h5"))
    if not folders:
        raise BadInput(f"{synthetic}: no synthetic slide lies there (*/level0.h5); draw one first")
    return folders


def generated_set(
    synthetic: str | Path, mpps: list[float], size_px: int, images: int, min_tissue: float, seed: int
) -> ImageSet:
    """At most `images` crops at each of the mpps, shared between the synthetic slides, on planned tissue."""
    crops, xy = [np.zeros((0, size_px, size_px, 3), np.uint8)], [np.zeros((0, 2))]
    mpp: list[float] = []
    names: list[str] = []
    folders = synthetic_folders(synthetic)
    for i, folder in enumerate(folders):
        source = CanvasSource(folder)
        for value in mpps:
            each = len(range(i, images, len(folders)))
            if not each:
                continue
            places = tissue_places(source, folder / "plan.png", value, size_px, each, min_tissue, seed + i)
            if len(places):
                image = source.level(value)["image"]
                crops.append(np.stack([image[y : y + size_px, x : x + size_px] for y, x in places]))
            xy.append(places[:, ::-1] * value)
            mpp += [value] * len(places)
            names += [source.name] * len(places)
        source.close()
    slide = np.array(names, str)
    return ImageSet("generated", np.concatenate(crops), np.array(mpp, np.float64), slide, slide, xy=np.concatenate(xy))


def real_sources(records: str | Path, run_dir: str | Path, rows: list[dict], split: str) -> list[SlideSource]:
    """The slides of one split (or their part of it), open; slides that were set aside are left out."""
    from histogenesis.slides.table import open_record

    sources = []
    for row in rows:
        record = Path(records) / f"{row['slide']}.json"
        if row["split"] != split or not record.is_file():
            continue
        try:
            slide = open_record(record, Path(run_dir))
        except BadInput:
            continue
        sources.append(SlideSource(slide, row["slide"], row["patient"], *(row[end] for end in PART)))
    return sources
