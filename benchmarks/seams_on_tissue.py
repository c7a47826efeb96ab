"""Seams of the joinings with a network that learnt tissue, beside real tissue under the same lines.

    python benchmarks/seams_on_tissue.py [--model gut-he-layout-v1] [--mpp 8] [--canvases 3] [--slide path/to/real.tif]

Canvases of 5 x 5 tiles of 32 px from noise, by one of the models that ship. Printed, for each way: evaluations a tile; the mean
step between pixels across tile lines over that elsewhere (1: no seam), its mean and standard error over canvases; the step
elsewhere in grey levels; seconds. benchmarks/seams.py is the same with an exact denoiser.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from histogenesis.canvas.engine import Drawing
from histogenesis.metrics.coherence.seams import tile_lines
from histogenesis.models.shipped import folder_of
from histogenesis.recipe import Level
from histogenesis.slides.read import open_slide
from histogenesis.steps.draw_level import bundles_of
from seams import STRIDE, TILE, inpaint

SIDE = 5  # tiles


def ways() -> dict[str, dict]:
    found = {f"inpaint, dpmpp-2m 25, r = {r}": inpaint(r, kind="dpmpp-2m", steps=25) for r in (1, 4, 10)}
    found["inpaint, heun 13, r = 1"] = inpaint(1, kind="heun", steps=13)
    sampler = {"kind": "dpmpp-2m", "steps": 25}
    found["independent"] = {"sampler": sampler, "joining": {"kind": "independent"}}
    found["average at every step"] = {"sampler": sampler, "joining": {"kind": "average", "stride_px": STRIDE}}
    found["the grid shifts"] = {"sampler": sampler, "joining": {"kind": "grid-shift"}}
    return found


def steps_of(picture: np.ndarray, lines: np.ndarray) -> tuple[float, float]:
    """Of uint8 (h, w, 3): the mean step across lines over that elsewhere, and that, in grey levels."""
    both = [picture.astype(float), picture.astype(float).swapaxes(0, 1)]
    steps = np.mean([np.abs(np.diff(one, axis=1)).mean(axis=(0, 2)) for one in both], axis=0)
    away = np.array([line - 1 + d for line in lines for d in (7, 9, 11)])
    elsewhere = float(steps[away[away < len(steps)]].mean())
    return float(steps[lines - 1].mean()) / elsewhere, elsewhere


def row(name: str, evaluations: int, found: list[tuple[float, float]], seconds: float) -> str:
    ratio, step = np.array(found).T
    error = ratio.std(ddof=1) / np.sqrt(len(ratio))
    return f"{name:28}{evaluations:>12}{ratio.mean():8.3f} +- {error:.3f}{step.mean():8.1f}{seconds:8.0f}"


def real_windows(path: Path, mpp: float, size: int, count: int) -> list[np.ndarray]:
    """Those of a slide with least glass, none over another."""
    with open_slide(path) as slide:
        ratio = mpp / slide.mpp
        places = [
            (x, y)
            for y in range(0, int(slide.height_px / ratio) - size, size)
            for x in range(0, int(slide.width_px / ratio) - size, size)
        ]
        found = [slide.read(x * ratio, y * ratio, (size, size), mpp) for x, y in places]
    return sorted(found, key=lambda picture: (picture.min(axis=2) > 215).mean())[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gut-he-layout-v1", help="one that ships, and draws from noise")
    parser.add_argument("--mpp", type=float, default=8)
    parser.add_argument("--canvases", type=int, default=3)
    parser.add_argument("--slide", type=Path, help="real tissue, for the first row")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder, size = Path(tempfile.mkdtemp()), STRIDE * (SIDE - 1) + TILE
    print(f"{'':28}{'evaluations':>12}{'seam':>18}{'step':>8}{'s':>8}")
    if args.slide:
        real = real_windows(args.slide, args.mpp, size, args.canvases)
        print(row("real tissue", 0, [steps_of(one, tile_lines(size, TILE, STRIDE, "raster")) for one in real], 0))
    for n, (name, way) in enumerate(ways().items()):
        begin, found, count = time.perf_counter(), [], 0
        kind = way["joining"]["kind"]
        lines = tile_lines(size, TILE, *((STRIDE, "raster") if kind == "inpaint" else (STRIDE,) * (kind == "average")))
        level = Level.model_validate({"mpp": args.mpp, "model": args.model, "tile_px": TILE, "batch": SIDE, **way})
        bundles = bundles_of(folder_of(args.model).parent, level, "cpu")
        for seed in range(args.canvases):
            d = Drawing(level, (size, size), 0, seed, "s", bundles)
            easel = d.run(folder / f"{n}-{seed}", "d")
            found.append(steps_of(np.concatenate([band for _, band in d.bands(easel)]), lines))
            count = len(d.takes[0])
        print(row(name, count, found, time.perf_counter() - begin), flush=True)


if __name__ == "__main__":
    main()
