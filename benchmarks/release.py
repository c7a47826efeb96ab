"""One trained network, two ways down a ladder: as config/harb.yaml was before, and as it is.

    python benchmarks/release.py --slide held_out.tif --at 1500 1000 --out picture.jpg

Before: heun 40 from sigma 80, of which the paper's r = 28 frees the constraint at 11.7. Now: harb's start, sampler and release.
The coarsest level is real: --px squared at --mpp, its corner --at (y, x in micrometres); two levels are drawn below it.
Printed for each level: A x - y over y's standard deviation; then by band of wavelength (px of y) the power of A x - y over that
of y, and the correlation of A x and y.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from histogenesis.canvas.averaging import downsample
from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.canvas import write_level
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.models.model import load_model
from histogenesis.phantom.gaussian import BANDS, correlation, difference_power
from histogenesis.recipe import Level, load_recipe
from histogenesis.slides.read import open_slide
from picture import sheet

ROOT = Path(__file__).resolve().parent.parent
BEFORE = {
    "sampler": {"kind": "heun", "steps": 40, "sigma_min": 0.002},
    "constraint": {"kind": "null-space", "relaxation": {"sigma": 11.7}},
    "start": None,
}


def agreement(made: np.ndarray, above: np.ndarray) -> str:
    """Of a level and the one above it, uint8 (h, w, 3)."""
    x, y = (torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() for rgb in (made, above))
    back, y = downsample(x[None], 2)[0], y - y.mean(dim=(1, 2), keepdim=True)
    back = back - back.mean(dim=(1, 2), keepdim=True)
    bands = [band for band in BANDS if band[1] <= y.shape[-1]]
    error = float((back - y).square().mean().sqrt() / y.std())
    power = " ".join(f"{difference_power(back, y, band):.2f}" for band in bands)
    alike = " ".join(f"{correlation(back, y, band):.2f}" for band in bands)
    return f"A x - y {error:.2f}; its power {power}; correlation {alike}"


def drawn(model, way: dict, real: np.ndarray, mpps: list[float], folder: Path) -> list[np.ndarray]:
    """The levels below a real one, each uint8 (h, w, 3), and that one first."""
    folder.mkdir()
    write_level(folder / "0.h5", [(0, real)], *real.shape[:2], {"mpp": mpps[0]})
    found = [real]
    for k, mpp in list(enumerate(mpps))[1:]:
        section, size_px = Level.model_validate(way | {"mpp": mpp}), tuple(n * 2**k for n in real.shape[:2])
        bundle = Bundle(model, model.normalisation, model.conditions)
        with LevelFile(folder / f"{k - 1}.h5") as above:
            d = Drawing(section, size_px, k, 1, "s", [bundle], above=above)
            d.finish(d.run(folder / str(k), "d", place="host", save_every_s=1e9), folder / f"{k}.h5")
        with LevelFile(folder / f"{k}.h5") as level:
            found.append(level.image[:])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "pretrained/gut-he-layout-v1")
    parser.add_argument("--slide", type=Path, required=True)
    parser.add_argument("--at", type=float, nargs=2, required=True)
    parser.add_argument("--mpp", type=float, default=16)
    parser.add_argument("--px", type=int, default=32)
    parser.add_argument("--tile-px", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    mpps = [args.mpp / 2**k for k in range(3)]
    with open_slide(args.slide) as slide:
        y, x = (um / slide.mpp for um in args.at)
        real = [slide.read(x, y, args.px * 2**k, mpp) for k, mpp in enumerate(mpps)]
    model, rows = load_model(args.model, "cpu", "bf16"), [("real", real)]
    now = load_recipe(ROOT / "config/harb.yaml").synthetic.levels[-1].model_dump(exclude={"size_px"})
    now |= {"tile_px": args.tile_px, "batch": 4}
    with tempfile.TemporaryDirectory() as folder:
        for name, way in {"now": now, "before": now | BEFORE}.items():
            levels = drawn(model, way, real[0], mpps, Path(folder) / name)
            for k in (1, 2):
                print(f"{name}, {mpps[k]:g} mpp: {agreement(levels[k], levels[k - 1])}", flush=True)
            rows.append((name, levels))
    sheet(rows, mpps, 256).save(args.out, quality=88)


if __name__ == "__main__":
    main()
