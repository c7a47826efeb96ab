"""The contact sheet: real held-out patches above synthetic ones, at the same mpp and of the same physical size."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histogenesis.core.errors import BadInput
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.patches.dataset import PatchCollection
from histogenesis.report.pictures import INK, font, length_text, tissue_shares, with_scale_bar

CELL_PX, GAP_PX = 224, 6
UNKNOWN_PX = 64  # size of a synthetic patch where no real one says
HELD_OUT = ("test", "validation")
TRIES = 400  # random places that a row of synthetic patches is chosen from


@dataclass(frozen=True)
class Row:
    """Patches (n, p, p, 3) uint8 of one kind at one mpp; the note says why there are none."""

    mpp: float
    title: str
    patches: np.ndarray
    note: str = ""


def draw_contact_sheet(
    patches: str | Path, splits: str | Path, levels_dir: str | Path, columns: int, seed: int, min_tissue: float = 0.1
) -> Image.Image:
    """One pair of rows for each level of a synthetic slide, coarsest first.

    patches: folder of a patch set; splits: splits.tsv; levels_dir: level0.h5, ... and plan.png. Real patches come from
    held-out slides or regions only. Both rows are random places with at least min_tissue, the same for the same seed.
    """
    rng = np.random.default_rng(seed)
    real = held_out_patches(Path(patches), Path(splits))
    plan = read_plan(Path(levels_dir) / "plan.png")
    patch_px = real[0][1].patch_px if real else UNKNOWN_PX
    sheet = []
    with ExitStack() as stack:
        for k, file in enumerate([stack.enter_context(file) for file in open_levels(levels_dir)]):
            mpp, image = float(file.attrs["mpp"]), file["image"]
            shown, name = real_patches(real, mpp, columns, rng)
            side = min(patch_px, *image.shape[:2])
            corner = (patch_px - side) // 2
            shown = shown[:, corner : corner + side, corner : corner + side]
            drawn = synthetic_patches(image, plan, side, columns, min_tissue, rng)
            field = f"{mpp:g} µm/px, {length_text(round(side * mpp, 1))} wide"
            title = f"{field}:  real, held out ({name})" if name else f"{field}:  real, held out"
            note = "" if len(shown) else "no held-out patch of a real slide at this resolution"
            sheet.append(Row(mpp, title, shown, note))
            sheet.append(Row(mpp, f"synthetic, level {k}", drawn, "" if len(drawn) else "no tissue to show"))
    return _draw(sheet, columns)


def held_out_patches(folder: Path, splits: Path) -> list[tuple[str, PatchCollection]]:
    """The collections of all held-out splits that hold patches."""
    found = []
    for split in HELD_OUT:
        try:
            found.append((split, PatchCollection(folder, splits, split)))
        except BadInput:
            continue
    return found


def real_patches(real, mpp: float, columns: int, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Random held-out patches at this mpp, from the first split that has any."""
    for split, collection in real:
        at = np.flatnonzero(np.isclose(collection.mpp, mpp, rtol=1e-4))
        if len(at):
            chosen = np.sort(rng.choice(at, size=min(columns, len(at)), replace=False))
            return collection.read(chosen), split
    return np.empty((0, 0, 0, 3), np.uint8), ""


def synthetic_patches(image, plan, side: int, columns: int, min_tissue: float, rng: np.random.Generator) -> np.ndarray:
    """Random places with tissue that do not overlap; fewer than `columns` where the canvas has no room for more."""
    height, width = image.shape[:2]
    corners = np.column_stack(
        (rng.integers(0, height - side + 1, size=TRIES), rng.integers(0, width - side + 1, size=TRIES))
    )
    corners = corners[tissue_shares(plan, corners, side, height, width) >= min_tissue]
    chosen: list[np.ndarray] = []
    for corner in corners:
        if len(chosen) < columns and all(np.abs(corner - other).max() >= side for other in chosen):
            chosen.append(corner)
    if not chosen:
        return np.empty((0, side, side, 3), np.uint8)
    return np.stack([image[y : y + side, x : x + side] for y, x in chosen])


def _draw(sheet: list[Row], columns: int) -> Image.Image:
    """Rows under their titles; a scale bar on the first patch of each."""
    title_px = 32
    heights = [
        title_px + (CELL_PX if len(row.patches) else title_px) + GAP_PX + (i % 2) * 14 for i, row in enumerate(sheet)
    ]
    picture = Image.new("RGB", (columns * (CELL_PX + GAP_PX) + GAP_PX, sum(heights) + GAP_PX), "white")
    draw, top = ImageDraw.Draw(picture), GAP_PX
    for row, height in zip(sheet, heights):
        draw.text((GAP_PX, top), row.title, fill=INK, font=font(21))
        if not len(row.patches):
            draw.text((GAP_PX, top + title_px), row.note, fill=(130, 60, 30), font=font(21))
        for i, patch in enumerate(row.patches):
            cell = Image.fromarray(patch)
            enlarge = cell.width <= CELL_PX
            cell = cell.resize((CELL_PX, CELL_PX), Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS)
            if i == 0:
                cell = with_scale_bar(cell, row.mpp * patch.shape[1] / CELL_PX)
            picture.paste(cell, (GAP_PX + i * (CELL_PX + GAP_PX), top + title_px))
        top += height
    return picture
