"""Reading a tiled JPEG TIFF and cutting patches, against the plain loops that people write: all in one run, as ratios.

    python benchmarks/read_slide.py slide.tif

MB/s of RGB over a 256 px grid of the full resolution, and 256 px patches a second into HDF5 (beside one another, and every 128
px). The loops: openslide-python's read_region; tifffile's tile offsets with simplejpeg, without and with a cache of tiles.
"""

import argparse
import json
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import openslide
import simplejpeg
import tifffile

from histogenesis.patches.cut import Reading
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe import PatchSet
from histogenesis.slides.read import open_slide
from histogenesis.slides.tiles import whole_jpeg

P = 256


def places(width: int, height: int, step: int, most: int) -> list[tuple[int, int]]:
    """Top left corners, row by row, of at most `most` patches about the slide's middle."""
    rows = max(1, most // ((width - P) // step + 1))
    top = max(0, (height - rows * step) // 2 // P * P)
    found = [(x, y) for y in range(top, height - P + 1, step) for x in range(0, width - P + 1, step)]
    return found[:most]


def openslide_loop(path: Path, at: list):
    with openslide.OpenSlide(path) as slide:
        for x, y in at:
            yield np.asarray(slide.read_region((x, y), 0, (P, P)))[..., :3]


def tiles_loop(path: Path, at: list, cached: int):
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        across, side = -(-page.imagewidth // page.tilewidth), page.tilewidth

        @lru_cache(maxsize=cached)
        def tile(row: int, column: int) -> np.ndarray:
            k = row * across + column
            tiff.filehandle.seek(page.dataoffsets[k])
            return simplejpeg.decode_jpeg(whole_jpeg(tiff.filehandle.read(page.databytecounts[k]), page))

        for x, y in at:
            out = np.empty((P, P, 3), np.uint8)
            for row in range(y // side, -(-(y + P) // side)):
                for column in range(x // side, -(-(x + P) // side)):
                    top, left = max(y, row * side), max(x, column * side)
                    bottom, right = min(y + P, (row + 1) * side), min(x + P, (column + 1) * side)
                    part = tile(row, column)[
                        top - row * side : bottom - row * side, left - column * side : right - column * side
                    ]
                    out[top - y : bottom - y, left - x : right - x] = part
            yield out


def ours(path: Path, at: list):
    with open_slide(path) as slide:
        for x, y in at:
            yield slide.read(x, y, P, slide.mpp)


def into_h5(pictures, n: int, folder: Path) -> None:
    """The loop that people write: one dataset, one patch a chunk."""
    with h5py.File(folder / "loop.h5", "w") as file:
        stored = file.create_dataset("imgs", (n, P, P, 3), np.uint8, chunks=(1, P, P, 3))
        for k, picture in enumerate(pictures):
            stored[k] = picture


def our_cut(path: Path, at: list, folder: Path) -> None:
    """What the patch step does: reading, the four numbers of quality, digest, HDF5."""
    with open_slide(path) as slide:
        options = PatchSet(size_px=P, mpps=[slide.mpp])
        n = len(at)
        cut = Cut(
            "s",
            P,
            slide.width_px,
            slide.height_px,
            slide.mpp,
            np.array(at),
            np.full(n, slide.mpp),
            np.ones(n, np.float32),
        )
        write_store(folder / "ours.h5", cut, Reading(slide, np.array([242, 242, 242], np.uint8), cut, options))


def seconds(work) -> float:
    """CPU seconds of this process: other work on the machine does not count."""
    start = time.process_time()
    for _ in work() or ():
        pass
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--patches", type=int, default=1500)
    args = parser.parse_args()
    with open_slide(args.slide) as slide:
        size = slide.width_px, slide.height_px
    found = {}
    grid = places(*size, P, args.patches)
    for a, b in zip(openslide_loop(args.slide, grid[:50]), ours(args.slide, grid[:50])):
        assert np.array_equal(a, b), "other pixels than OpenSlide's"
    ways = {
        "openslide loop": lambda at: openslide_loop(args.slide, at),
        "tifffile + simplejpeg": lambda at: tiles_loop(args.slide, at, 0),
        "tifffile + simplejpeg, 64 tiles kept": lambda at: tiles_loop(args.slide, at, 64),
        "ours": lambda at: ours(args.slide, at),
    }
    read = {name: seconds(lambda way=way: way(grid)) for name, way in ways.items()}
    megabytes = len(grid) * P * P * 3 / 1e6
    found["read, 256 px grid, MB/s"] = {name: round(megabytes / s) for name, s in read.items()}
    with tempfile.TemporaryDirectory() as folder:
        for step in (P, P // 2):
            at = places(*size, step, args.patches)
            cut = {
                name: seconds(lambda way=way, at=at: into_h5(way(at), len(at), Path(folder)))
                for name, way in ways.items()
            }
            cut["ours, the patch step"] = seconds(lambda at=at: our_cut(args.slide, at, Path(folder)))
            found[f"256 px patches every {step} px into HDF5, a second"] = {
                n: round(len(at) / s) for n, s in cut.items()
            }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
