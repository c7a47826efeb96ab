"""Take samples: patches that another generator has made, or patches of its slides, as a file like that of drawn ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.judge import ENDINGS, crops_of_files, slide_set
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import BroughtSamples
from histogenesis.report.training_pictures import save_sheet
from histogenesis.slides.table import slide_path


def take_samples(*, name: str, options: BroughtSamples, size_px: int, out: Path, mpp: float | None = None) -> None:
    """Take patches that another generator has made, or patches of its slides, to be judged as drawn ones are.

    Raises BadInput for a source that is not there, holds no picture, or one that is smaller than size_px.

    name: of the samples, as in the recipe
    options: the recipe's section of these samples
    size_px: of the patches that they are compared with
    out: samples.h5; samples.png is written beside it
    mpp: where the section states none
    """
    count = write_samples(name, slide_path(options.source), options, size_px, mpp, out)
    print(f"{name}: {count} patches of {size_px} px taken from {options.source}")


def write_samples(name: str, source: Path, section: BroughtSamples, size_px: int, mpp: float | None, out: Path) -> int:
    """Write samples.h5 and samples.png; returns how many there are. mpp: where the section states none.

    Raises BadInput as `take_samples` does.
    """
    if not source.exists():
        raise BadInput(f"samples.{name}: {source} is not there; correct the path")
    mpp = section.mpp or mpp
    if section.slides:
        pictures, labels, files = of_slides(source, section, size_px, mpp)
    else:
        pictures, labels, files = of_folder(source, section, size_px)
    n = len(pictures)
    cut = Cut(
        name,
        size_px,
        coords=np.full((n, 2), -1, np.int64),
        mpp=np.full(n, mpp or float("nan")),
        tissue=np.ones(n, np.float32),
        texts={"label": labels, "source": files},
    )
    cut.facts = {"synthetic": True, "brought": True, "seed": section.seed}
    write_store(out, cut, pictures)
    save_sheet(out.with_suffix(".png"), pictures, labels)
    return n


def of_folder(folder: Path, section: BroughtSamples, size_px: int) -> tuple[np.ndarray, list[str], list[str]]:
    """Pictures, their classes, their files."""
    found, labels, files = [], [], []
    for label in section.classes or [""]:
        there = sorted(p for p in (folder / label).rglob("*") if p.suffix.lower() in ENDINGS)
        if not there:
            raise BadInput(
                f"{folder / label}: holds no images ({', '.join(sorted(ENDINGS))}); correct `folder` or `classes`"
            )
        pictures, names = crops_of_files(folder, there, size_px, section.images, section.seed)
        found.append(pictures)
        labels += [label] * len(pictures)
        files += names.tolist()
    return np.concatenate(found), labels, files


def of_slides(
    source: Path, section: BroughtSamples, size_px: int, mpp: float
) -> tuple[np.ndarray, list[str], list[str]]:
    """As `of_folder`, from one slide or from each of a folder equally many."""
    slides = sorted(p for p in source.iterdir() if p.is_file()) if source.is_dir() else [source]
    if not slides:
        raise BadInput(f"{source}: holds no slides")
    each = -(-section.images // len(slides))
    sets = [slide_set(slide, None, [mpp], size_px, each, section.min_tissue, section.seed) for slide in slides]
    pictures = np.concatenate([one.images for one in sets])[: section.images]
    files = [name for one in sets for name in one.slide.tolist()][: section.images]
    return pictures, [""] * len(pictures), files
