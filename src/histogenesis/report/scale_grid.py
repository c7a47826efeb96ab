"""The picture grid of Harb et al. 2024, figure 9: a column for each resolution, a row for each method, the same centre."""

from __future__ import annotations

import math
import textwrap
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histogenesis.core.errors import BadInput
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.patches.dataset import PatchCollection
from histogenesis.report.pictures import INK, box_means, font, length_text, with_scale_bar

FIELD_PX = 512  # side of each crop, as in the paper; less where level 0 is smaller
CELL_PX, GAP_PX, LABEL_PX, TITLE_PX = 256, 6, 230, 30
HELD_OUT = ("test", "validation")
FULL = 0.9  # tissue of the real patches shown, where there are enough of them


@dataclass(frozen=True)
class Row:
    """Crops (side, side, 3) uint8 of a method, one a resolution, coarsest first."""

    title: str
    crops: list[np.ndarray]


def centre_of(plan: np.ndarray, side_px: int) -> tuple[int, int]:
    """Level 0 px (y, x) about which there is most tissue, within half a field: the one nearest the middle of the slide."""
    half = max(1, side_px // 2)
    means = box_means(plan, min(half, plan.shape[0]), min(half, plan.shape[1]))
    rows, columns = np.nonzero(means >= means.max() - 1e-9)
    far = (rows + half / 2 - plan.shape[0] / 2) ** 2 + (columns + half / 2 - plan.shape[1] / 2) ** 2
    best = np.argmin(far)
    return int(rows[best] + half // 2), int(columns[best] + half // 2)


def sizes_of(levels_dir: str | Path) -> dict[float, tuple[int, int]]:
    """mpp -> height and width in px of a slide's levels, coarsest first."""
    with ExitStack() as stack:
        files = [stack.enter_context(file) for file in open_levels(levels_dir)]
        return {float(file.attrs["mpp"]): file["image"].shape[:2] for file in files}


def crops_of(levels_dir: str | Path, mpps: list[float], centre: tuple[float, float], side_px: int) -> list[np.ndarray]:
    """The window of side_px about the same place at each of the mpps, pushed inside at the slide's border.

    centre: y and x as shares of height and width.
    """
    crops = []
    with ExitStack() as stack:
        files = [stack.enter_context(file) for file in open_levels(levels_dir)]
        for file in (file for mpp in mpps for file in files if math.isclose(file.attrs["mpp"], mpp)):
            height, width = file["image"].shape[:2]
            y = min(max(round(centre[0] * height) - side_px // 2, 0), height - side_px)
            x = min(max(round(centre[1] * width) - side_px // 2, 0), width - side_px)
            crops.append(file["image"][y : y + side_px, x : x + side_px])
    return crops


def real_crops(patches: str | Path, splits: str | Path, mpps: list[float], side_px: int) -> list[np.ndarray] | None:
    """At each mpp, a field of held-out patches of real slides side by side, white lines between; None without any.

    An mpp without held-out patches is left white. The patches are those with most tissue, in their stored order.
    """
    for split in HELD_OUT:
        try:
            real = PatchCollection(Path(patches), Path(splits), split)
            break
        except BadInput:
            continue
    else:
        return None
    return [_mosaic(real, mpp, side_px) for mpp in mpps]


def _mosaic(real: PatchCollection, mpp: float, side_px: int) -> np.ndarray:
    px = min(real.patch_px, side_px)
    each, field = side_px // px, np.full((side_px, side_px, 3), 255, np.uint8)
    here = np.flatnonzero(np.isclose(real.mpp, mpp, rtol=1e-4))
    order = here[np.argsort(-np.minimum(real.tissue[here], FULL), kind="stable")]
    full = order[np.minimum(real.tissue[order], FULL) == FULL]
    if len(full) > each**2:  # from all over the held-out slides, and not from the first alone
        order = full[np.linspace(0, len(full) - 1, each**2).round().astype(int)]
    for n, patch in enumerate(real.read(order[: each**2])):
        y, x, cut = px * (n // each), px * (n % each), (real.patch_px - px) // 2
        field[y : y + px, x : x + px] = patch[cut : cut + px, cut : cut + px]
    field[px::px], field[:, px::px] = (255, 255) if each > 1 else (field[px::px], field[:, px::px])
    return field


def draw_grid(rows: list[Row], mpps: list[float]) -> Image.Image:
    """Rows under the resolutions' headings; a scale bar in each crop of the first row."""
    side = rows[0].crops[0].shape[0]
    cell = side * max(1, round(CELL_PX / side))
    width, height = LABEL_PX + len(mpps) * (cell + GAP_PX), TITLE_PX + len(rows) * (cell + GAP_PX)
    grid = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(grid)
    for k, mpp in enumerate(mpps):
        title = f"{mpp:g} µm/px, {length_text(round(side * mpp, 1))}"
        pen.text((LABEL_PX + k * (cell + GAP_PX), 6), title, fill=INK, font=font(14))
    for i, row in enumerate(rows):
        top = TITLE_PX + i * (cell + GAP_PX)
        pen.multiline_text((4, top + 4), "\n".join(textwrap.wrap(row.title, 24)), fill=INK, font=font(15), spacing=5)
        for k, crop in enumerate(row.crops):
            picture = Image.fromarray(crop).resize((cell, cell), Image.Resampling.NEAREST)
            picture = with_scale_bar(picture, mpps[k] * side / cell, 13) if i == 0 else picture
            grid.paste(picture, (LABEL_PX + k * (cell + GAP_PX), top))
    return grid


def scale_grid(
    methods: dict[str, Path], patches: str | Path | None = None, splits: str | Path | None = None
) -> Image.Image:
    """methods: title -> folder of one synthetic slide (level0.h5, ..., plan.png); the first one's plan gives the place.

    Columns are the resolutions that all slides have. With a patch set and its splits, a last row of real tissue. Raises
    BadInput where slides have no resolution in common.
    """
    ladders = {folder: sizes_of(folder) for folder in methods.values()}
    first, *others = ladders.values()
    shared = [mpp for mpp in first if all(_among(mpp, list(other)) for other in others)]
    if not shared:
        told = "; ".join(f"{folder}: {', '.join(f'{mpp:g}' for mpp in sizes)}" for folder, sizes in ladders.items())
        raise BadInput(f"no resolution that all slides have (µm/px of {told})")
    sides = [min(size) for sizes in ladders.values() for mpp, size in sizes.items() if _among(mpp, shared)]
    side = min(FIELD_PX, *sides)
    plan = read_plan(next(iter(ladders)) / "plan.png")
    y, x = centre_of(plan, min(side, *plan.shape))
    centre = y / plan.shape[0], x / plan.shape[1]
    rows = [Row(title, crops_of(folder, shared, centre, side)) for title, folder in methods.items()]
    real = real_crops(patches, splits, shared, side) if patches and splits else None
    if real:
        rows.append(Row("real tissue, held out: patches of the same size in µm, side by side", real))
    return draw_grid(rows, shared)


def _among(mpp: float, mpps: list[float]) -> bool:
    return any(math.isclose(mpp, one) for one in mpps)
