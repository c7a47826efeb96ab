"""A canvas from z_0 to TIFF with a denoiser that costs nothing: what is left is the engine's own time and memory.

    python benchmarks/gigapixel.py --px 65536 [--joining grid-shift|independent] [--steps 3] [--state bf16] [--folder DIR]

z_0 is one tile of 512 px; each next level doubles it under the null-space constraint. `grid-shift` keeps the state of the
canvas between the steps; `independent` draws each tile to its end, and its state is the finished tiles. The denoiser is that of
white noise of 4 grey levels, so that all px differ and the JPEG has something to do. Printed for each level: seconds, CPU
seconds, the process's peak memory so far, where the state lay. Beside them what no engine does without, measured in the same
run: a copy of x and of the solver's history at each step; of the TIFF, its JPEGs' encoding alone, of 8 rows of tiles in place
of all. All that is written is deleted at the end.
"""

import argparse
import resource
import shutil
import tempfile
import time
from contextlib import nullcontext, redirect_stderr
from os import devnull
from pathlib import Path

import torch

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.models.normalisation import Normalisation
from histogenesis.recipe import Level, SlideFile
from histogenesis.slides.write import write_slide
from write_slide import encode_limit

NORMALISATION = Normalisation([200.0, 150.0, 180.0], 40.0, 0.5)
SPREAD = 0.05  # in model units: 4 grey levels


def denoise(x, sigma, mpp):
    return x.mul(SPREAD**2 / (SPREAD**2 + float(sigma[0]) ** 2))


def section(k: int, joining: str, steps: int, state: str) -> Level:
    values = {"mpp": 64 / 2**k, "model": "m", "tile_px": 512, "batch": 8, "joining": {"kind": joining}, "state": state}
    if joining == "independent":
        values["skip_background"] = {"share": 0.99, "above": 254}  # which makes it draw tile by tile
    if k:
        values |= {"constraint": {"kind": "null-space", "relaxation": {"sigma": 0.25}}, "start": {"sigma": 1}}
    else:
        values |= {"skip_background": None, "batch": 1}
    return Level.model_validate(values | {"sampler": {"kind": "dpmpp-2m", "steps": steps, "sigma_min": 0.02}})


def copied_per_second(tile_px: int = 512) -> float:
    """Bytes a second of a copy, in blocks of a batch of tiles."""
    block = torch.rand(8, 3, tile_px, tile_px)
    block.clone()
    start, runs = time.process_time(), 0
    while time.process_time() - start < 1:
        block.clone()
        runs += 1
    return runs * block.nbytes / (time.process_time() - start)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=65536, help="side of the finest canvas: 512 times a power of 2")
    parser.add_argument("--joining", choices=["grid-shift", "independent"], default="grid-shift")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--state", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--folder", type=Path, help="where there is room for it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rate, size = copied_per_second(), {"fp32": 4, "bf16": 2}[args.state]
    folder, began = Path(tempfile.mkdtemp(dir=args.folder)), time.monotonic()
    try:
        side, k = 512, 0
        while side <= args.px:
            start, cpu = time.monotonic(), time.process_time()
            with LevelFile(folder / f"level{k - 1}.h5") if k else nullcontext() as above:
                one = section(k, args.joining if k else "independent", args.steps, args.state)
                d = Drawing(one, (side, side), k, 1, "s", [Bundle(denoise, NORMALISATION)], above=above)
                with open(devnull, "w") as nowhere, redirect_stderr(nowhere):
                    easel = d.run(folder / f"state{k}", "d", save_every_s=1e9)
                drawn = time.monotonic()
                d.finish(easel, folder / f"level{k}.h5")
            del easel
            shutil.rmtree(folder / f"state{k}")
            now, cpu = time.monotonic(), time.process_time() - cpu
            copied = 1e9 * args.steps * 2 * 3 * size / rate
            print(
                f"{side:6} px: {now - start:7.1f} s ({now - drawn:.1f} of it to write the level), CPU {cpu:7.1f} s,"
                f" {1e9 * cpu / side**2:6.1f} CPU ms/Mpx (copy {copied:.1f}), peak {peak_gib():.2f} GiB",
                flush=True,
            )
            side, k = 2 * side, k + 1
        start = time.monotonic()
        made = write_slide(folder / f"level{k - 1}.h5", folder / "slide.tif", SlideFile(), {"run": "benchmark"}, 2)
        taken, peak = time.monotonic() - start, peak_gib()
        limit = encode_limit(folder / f"level{k - 1}.h5", SlideFile(), 2, rows=8)
        print(
            f"TIFF: {taken:.1f} s, encoding alone {limit:.1f} s, {made['bytes'] / 2**30:.2f} GiB, peak {peak:.2f} GiB"
        )
        print(f"in all {time.monotonic() - began:.0f} s")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
