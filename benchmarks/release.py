"""One trained network, two ways down a ladder: as config/harb.yaml was, and as it is.

    python benchmarks/release.py --model pretrained/gut-he-layout-v1 --slide held_out.tif --at 1500 1000 --out picture.jpg

It was heun 40 from 80, and r = 28 freed the constraint at 11.7; it is dpmpp-2m 8 from the level above, noised to 2, free at
0.25.
The coarsest level is real: --px squared at --mpp, its corner --at (y, x in micrometres); two levels are drawn below.
Printed: A x - y over y's standard deviation, and the correlation of A x and y in bands of wavelength (px of y).
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from histogenesis.canvas.averaging import downsample
from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.canvas import write_level
from histogenesis.canvas.engine import Bundle, Drawing
from histogenesis.models.model import load_model
from histogenesis.phantom.gaussian import BANDS, correlation
from histogenesis.recipe import Level
from histogenesis.slides.read import open_slide
from picture import sheet

WAYS = {
    "heun 40 from 80, free at 11.7": {
        "sampler": {"kind": "heun", "steps": 40},
        "constraint": {"kind": "null-space", "relaxation": {"sigma": 11.7}},
    },
    "dpmpp-2m 8 from 2, free at 0.25": {
        "sampler": {"kind": "dpmpp-2m", "steps": 8, "sigma_min": 0.02},
        "constraint": {"kind": "null-space", "relaxation": {"sigma": 0.25}},
        "start": {"sigma": 2},
    },
}
COMMON = {"model": "layout", "tile_px": 32, "batch": 16, "precision": "bf16", "joining": {"kind": "grid-shift"}}


def shown(path: Path) -> np.ndarray:
    with LevelFile(path) as level:
        return level.window(0, 0, *level.shape)


def agreement(made: np.ndarray, above: np.ndarray) -> str:
    x, y = (torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() for rgb in (made, above))
    back = downsample(x, 2)
    error = float((back - y).square().mean().sqrt() / y.std())
    bands = " ".join(f"{correlation(back, y, band):.2f}" for band in BANDS[:4])
    return f"A x - y {error:.2f}, correlation {bands}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument("--at", type=float, nargs=2, required=True)
    parser.add_argument("--mpp", type=float, default=16)
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    mpps, folder = [args.mpp / 2**k for k in range(3)], Path(tempfile.mkdtemp())
    with open_slide(args.slide) as slide:
        y, x = (um / slide.mpp for um in args.at)
        real = [slide.read(x, y, args.px * 2**k, mpp) for k, mpp in enumerate(mpps)]
    model, rows = load_model(args.model, "cpu", "bf16"), [("real", real)]
    for name, way in WAYS.items():
        write_level(folder / "0.h5", [(0, real[0])], args.px, args.px, {"mpp": args.mpp})
        for k in (1, 2):
            side = args.px * 2**k
            with LevelFile(folder / f"{k - 1}.h5") as above:
                section = Level.model_validate(COMMON | way | {"mpp": mpps[k]})
                bundle = Bundle(model, model.normalisation, model.conditions)
                d = Drawing(section, (side, side), k, 1, "s", [bundle], above=above)
                d.finish(d.run(folder / name / str(k), "d"), folder / f"{k}.h5")
            print(f"{name}, {mpps[k]:g} mpp: {agreement(*(shown(folder / f'{n}.h5') for n in (k, k - 1)))}", flush=True)
        rows.append((name, [shown(folder / f"{k}.h5") for k in range(3)]))
    larger = [
        (title, [np.asarray(Image.fromarray(crop).resize((256, 256), 0)) for crop in crops]) for title, crops in rows
    ]
    sheet(larger, [args.px * mpp * 2**k / 256 for k, mpp in enumerate(mpps)], 256).save(args.out, quality=88)


if __name__ == "__main__":
    main()
