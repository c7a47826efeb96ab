"""How fast, and in how much memory, a canvas becomes a slide: against the JPEG encode limit of the same pixels, in one run.

The canvas is phantom tissue, repeated to the size asked for. The limit is the time that the same number of threads need to
encode the tiles of all levels from memory, reading and writing nothing. Peak memory is that of a process that does nothing but
write the slide.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np

from histogenesis.phantom.render import Painter
from histogenesis.recipe import Phantom, SlideFile
from histogenesis.slides.pyramid import encode_tile, level_sizes, tiles_of

WRITE = """
import json, sys, time
from pathlib import Path
from histogenesis.recipe import SlideFile
from histogenesis.slides.write import write_slide
canvas, out, options, threads = sys.argv[1:]
def peak_kib():  # ru_maxrss would be that of the parent, from before exec
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before, start = peak_kib(), time.perf_counter()
made = write_slide(Path(canvas), Path(out), SlideFile.model_validate_json(options), {"run": "benchmark"}, int(threads))
seconds, peak = time.perf_counter() - start, peak_kib()
cpu = time.process_time()  # of all threads
print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_gib": peak / 2**20, "imports_gib": before / 2**20, **made}))
"""


def make_canvas(path: Path, size_px: int) -> None:
    """A canvas of `size_px` squared: a piece of phantom tissue with a scanner's noise, rolled on in each row."""
    piece = Painter(Phantom(name="benchmark", mpp=0.5)).rgb(1800, 1000, min(2048, size_px), min(2048, size_px))
    piece = (piece + np.random.default_rng(1).normal(0, 5, piece.shape)).clip(0, 255).astype(np.uint8)
    row = np.tile(piece, (1, -(-size_px // piece.shape[1]), 1))[:, :size_px]
    with h5py.File(path, "w") as file:
        chunk = min(256, size_px)
        image = file.create_dataset("image", (size_px, size_px, 3), np.uint8, chunks=(chunk, chunk, 3))
        file.attrs.update(mpp=0.5, level=0, slide="benchmark", background=(241, 240, 242), seed=1, synthetic=True)
        for y in range(0, size_px, len(piece)):
            image[y : y + len(piece)] = np.roll(row, 331 * (y // len(piece)), axis=1)[: size_px - y]


def encode_limit(path: Path, options: SlideFile, threads: int, rows: int | None = None) -> float:
    """Seconds that encoding alone takes: level 0's tiles, timed row by row, times the pixels of all levels over its own.

    rows: so many rows of tiles, evenly spread, stand for all.
    """
    seconds = 0.0
    with h5py.File(path) as file, ThreadPoolExecutor(threads) as pool:
        image = file["image"]
        starts = range(0, len(image), options.tile_px)
        timed = starts[:: max(1, len(starts) // rows)] if rows else starts
        for y in timed:
            tiles = tiles_of(image[y : y + options.tile_px], options.tile_px)
            start = time.perf_counter()
            for _ in pool.map(lambda tile: encode_tile(tile, options), tiles):
                pass
            seconds += time.perf_counter() - start
        sizes = level_sizes(*image.shape[:2], options.tile_px)
    return seconds * len(starts) / len(timed) * sum(h * w for h, w in sizes) / (sizes[0][0] * sizes[0][1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--size", type=int, default=41_344, help="width and height of the canvas in px (default: %(default)s)"
    )
    parser.add_argument("--options", default="{}", help="the recipe's synthetic.file section, as JSON")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where canvas and slide are written for a while")
    arguments = parser.parse_args()
    options = SlideFile.model_validate_json(arguments.options)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        canvas, out = Path(folder) / "canvas.h5", Path(folder) / "slide.tif"
        make_canvas(canvas, arguments.size)
        limit = encode_limit(canvas, options, arguments.threads)
        command = [sys.executable, "-c", WRITE, canvas, out, options.model_dump_json(), str(arguments.threads)]
        load = os.getloadavg()[0]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result = {
        "size_px": arguments.size,
        "threads": arguments.threads,
        "load_before": round(load, 1),
        "write_s": round(done["seconds"], 2),
        "cpu_s": round(done["cpu_s"], 2),
        "encode_limit_s": round(limit, 2),
        "ratio_to_limit": round(done["seconds"] / limit, 2),
        "peak_gib": round(done["peak_gib"], 3),
        "of_which_imports_gib": round(done["imports_gib"], 3),
        "file_gib": round(done["bytes"] / 2**30, 3),
        "levels": len(done["levels"]),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
