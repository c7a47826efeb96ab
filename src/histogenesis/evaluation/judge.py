"""Pictures that this project did not make, against held-out real patches: a folder of patches, or another generator's slide.

A slide of a real scanner, judged so, says what the judge says of real tissue.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.collect import by_region, checked_splits, held_out_split, real_set
from histogenesis.evaluation.evaluate import evaluate
from histogenesis.evaluation.job import REGION_NOTE, load_encoders
from histogenesis.evaluation.labelled import read_image
from histogenesis.evaluation.sets import Sets
from histogenesis.evaluation.training_patches import OnDisk
from histogenesis.evaluation.treatment import treated
from histogenesis.metrics.checks import as_rgb
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.recipe import Evaluation

ENDINGS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
GLASS = 220  # a pixel is glass if its three colours are all brighter
TRIES = 30  # places looked at for each crop that is wanted


def judge(
    pictures: Path, patches: Path, splits: Path, options: Evaluation, out: Path, mpp: float | None = None,
    min_tissue: float = 0.5, seed: int = 1, records: Path | None = None, run_dir: Path | None = None,
) -> dict:  # fmt: skip
    """Write metrics.json and all else that `evaluate` writes under `out`; returns what it returns. Copies are looked for among
    all training patches on disk.

    pictures: a folder of image files at `mpp`, or a slide (mpp overrides what it says). patches, splits: a patch set with its
    split; records, run_dir: of the run that it is of, where the slides' codec is to be read. Raises BadInput for what cannot be
    compared: no mpp, none in common, patches smaller than the real ones.
    """
    rows = checked_splits(splits)
    train = real_set(patches, splits, "train", options.train_images, seed)
    held_out = real_set(patches, splits, held_out_split(rows), options.images, seed)
    size, mpps = train.images.shape[1], sorted(set(train.mpp.tolist()), reverse=True)
    if Path(pictures).is_dir():
        generated = folder_set(Path(pictures), mpp, mpps, size, options.images, seed)
    else:
        generated = slide_set(Path(pictures), mpp, mpps, size, options.images, min_tissue, seed)
    note = REGION_NOTE if by_region(rows) else ""
    sets = treated(Sets(train, held_out, generated, note), options, records, run_dir)
    return evaluate(sets, load_encoders(options), options, out, seed, OnDisk(patches, splits))


def folder_set(folder: Path, mpp: float | None, mpps: list[float], size_px: int, most: int, seed: int) -> ImageSet:
    """Crops of `size_px` from the images of a folder, at most `most`: side by side from images that are larger."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
    if not files:
        raise BadInput(f"{folder}: holds no images ({', '.join(sorted(ENDINGS))})")
    if mpp is None or not np.isclose(mpps, mpp, rtol=0.03).any():
        have = ", ".join(f"{m:g}" for m in mpps)
        said = "its mpp is not known" if mpp is None else f"there are no real patches at {mpp:g} mpp"
        raise BadInput(f"{folder}: {said}: give --mpp, one of {have} (at most 3 % off)")
    at = mpps[int(np.abs(np.array(mpps) - mpp).argmin())]
    pictures, names = crops_of_files(folder, files, size_px, most, seed)
    return ImageSet("generated", pictures, np.full(len(pictures), at), names, names)


def crops_of_files(
    folder: Path, files: list[Path], size_px: int, most: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` crops, uint8 (n, p, p, 3), and the file that each is of; files are taken in an order of the seed's."""
    rng = np.random.default_rng([seed, 5])
    crops, source = [], []
    for i in rng.permutation(len(files)):
        image = as_rgb([read_image(files[i])])[0]
        height, width = image.shape[:2]
        if min(height, width) < size_px:
            raise BadInput(
                f"{files[i]} has {width} x {height} px, fewer than the real patches ({size_px} px): give larger ones"
            )
        for y in range(0, height - size_px + 1, size_px):
            for x in range(0, width - size_px + 1, size_px):
                crops.append(image[y : y + size_px, x : x + size_px])
                source.append(str(files[i].relative_to(folder)))
        if len(crops) >= most:
            break
    return np.stack(crops[:most]), np.array(source[:most])


def slide_set(
    path: Path, mpp: float | None, mpps: list[float], size_px: int, most: int, min_tissue: float, seed: int
) -> ImageSet:
    """At most `most` crops at each mpp that the slide has, from random places with tissue."""
    from histogenesis.slides.read import open_slide

    crops, at = [], []
    with open_slide(path, mpp) as slide:
        for value in mpps:
            side = size_px * value / slide.mpp
            free = slide.width_px - side, slide.height_px - side
            if value < slide.mpp * (1 - 1e-6) or min(free) < 0:
                continue
            rng, found = np.random.default_rng([seed, round(value * 1e6)]), 0
            for u, v in rng.random((TRIES * most, 2)):
                crop = slide.read(u * free[0], v * free[1], size_px, value)
                if (crop.min(axis=-1) < GLASS).mean() >= min_tissue:
                    crops.append(crop)
                    at.append(value)
                    found += 1
                if found == most:
                    break
    if not crops:
        have = ", ".join(f"{m:g}" for m in mpps)
        raise BadInput(
            f"{path}: no place with tissue at any mpp of the real patches ({have}): is it coarser, or empty?"
        )
    names = np.full(len(crops), path.stem)
    return ImageSet("generated", np.stack(crops), np.array(at), names, names)
