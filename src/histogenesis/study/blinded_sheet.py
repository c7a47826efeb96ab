"""A blinded sheet: real held-out crops and generated ones in one picture, in random order, with the key in another file.

What could give the answer away besides the tissue is made equal: size, mpp, compression (all crops pass through the same
JPEG), one picture without metadata for all. Real crops that were JPEG before keep what that did to them.
"""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import same_mpp
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.report.contact import held_out_patches, real_patches, synthetic_patches
from histogenesis.report.pictures import INK, font

GAP_PX, TITLE_PX = 8, 26
JPEG_QUALITY = 85


def blinded(real: np.ndarray, generated: np.ndarray, seed: int) -> tuple[np.ndarray, list[str]]:
    """Crops uint8 (n, p, p, 3) and (m, p, p, 3) -> all of them shuffled, (n + m, p, p, 3), and what each is."""
    order = np.random.default_rng([seed, 1]).permutation(len(real) + len(generated))
    kinds = np.array(["real"] * len(real) + ["generated"] * len(generated))[order].tolist()
    return np.stack([through_jpeg(crop) for crop in np.concatenate([real, generated])[order]]), kinds


def through_jpeg(crop: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """What a JPEG file of this crop shows; uint8 (h, w, 3)."""
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "jpeg", quality=quality, subsampling=2)
    return np.asarray(Image.open(file))


def write_blinded_sheet(
    patches: Path,
    splits: Path,
    levels_dir: Path,
    mpp: float,
    each: int,
    seed: int,
    out: Path,
    min_tissue: float = 0.5,
    zoom: int = 2,
    columns: int = 8,
) -> None:
    """Write the sheet (`out`, a PNG) and its key (`{out stem}.key.tsv`: number, kind).

    patches, splits: a patch set and splits.tsv; levels_dir: of one synthetic slide. Raises BadInput where there are fewer
    than `each` crops of either kind at this mpp.
    """
    rng = np.random.default_rng([seed, 0])
    real, _ = real_patches(held_out_patches(patches, splits), mpp, each, rng)
    with ExitStack() as stack:
        levels = [stack.enter_context(file) for file in open_levels(levels_dir)]
        at = [file for file in levels if same_mpp(mpp, float(file.attrs["mpp"]))]
        if not at:
            raise BadInput(f"{levels_dir}: no level of {mpp:g} mpp")
        side = real.shape[1] if len(real) else 64
        generated = synthetic_patches(at[0]["image"], read_plan(levels_dir / "plan.png"), side, each, min_tissue, rng)
    for kind, crops, where in (("held-out real", real, patches), ("generated", generated, levels_dir)):
        if len(crops) < each:
            raise BadInput(f"{where}: {len(crops)} {kind} crops at {mpp:g} mpp, but the sheet wants {each}")
    crops, kinds = blinded(real, generated, seed)
    draw_numbered(crops, zoom, columns).save(out)
    lines = [f"{number}\t{kind}\n" for number, kind in enumerate(kinds, start=1)]
    out.with_suffix(".key.tsv").write_text("number\tkind\n" + "".join(lines))


def draw_numbered(crops: np.ndarray, zoom: int, columns: int) -> Image.Image:
    """Crops (n, p, p, 3) uint8 in rows, each under its number from 1 on."""
    side = crops.shape[1] * zoom
    rows = -(-len(crops) // columns)
    sheet = Image.new("RGB", (columns * (side + GAP_PX) + GAP_PX, rows * (side + TITLE_PX + GAP_PX) + GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for n, crop in enumerate(crops):
        x = GAP_PX + n % columns * (side + GAP_PX)
        y = GAP_PX + n // columns * (side + TITLE_PX + GAP_PX)
        draw.text((x, y), str(n + 1), fill=INK, font=font(19))
        sheet.paste(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC), (x, y + TITLE_PX))
    return sheet
