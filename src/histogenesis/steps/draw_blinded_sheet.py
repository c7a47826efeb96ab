"""A blinded sheet at one mpp, for people who are to tell real from generated."""

from __future__ import annotations

from pathlib import Path

from histogenesis.study.blinded_sheet import write_blinded_sheet


def draw_blinded_sheet(
    *, patches: Path, splits: Path, levels_dir: Path, mpp: float, out: Path, each: int = 20, seed: int = 1
) -> None:
    """A blinded sheet at one mpp: as many held-out real crops as generated ones, shuffled; the key lies beside it (.key.tsv).

    Example: python workflow/scripts/draw_blinded_sheet.py --patches results/demo/patches/cells --splits results/demo/splits.tsv
    --levels-dir results/demo/synthetic/synthetic_1 --mpp 0.5 --out sheet.png

    patches: folder of a patch set, one HDF5 file a slide
    splits: splits.tsv
    levels_dir: folder of level0.h5, ... and plan.png
    mpp: micrometres per pixel of the crops: one of the levels'
    out: a PNG
    each: so many of each kind
    seed: of the choice and the order
    """
    write_blinded_sheet(patches, splits, levels_dir, mpp, each=each, seed=seed, out=out)
