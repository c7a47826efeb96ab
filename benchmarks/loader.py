"""What a training is fed in a second, on one core: patches of many slides at random, read by h5py and by this project.

python benchmarks/loader.py [--slides 200] [--patch-px 512] [--batch 64]

Prints images a second of processor time. `plain h5py` opens each file once and reads a patch; `h5py, 128 files` keeps so many
open at once, as a reader that must not run out of files does; `ours` is what the trainer calls (patches.dataset), whole and
cropped to half; `host` is what the host does for a sample when a GPU is fed: choosing and reading; `made` is what the device
does then (turning, encoding, noise), here on the CPU.
"""

import argparse
import tempfile
import time
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import torch

from histogenesis.models.batches import Batches
from histogenesis.models.normalisation import Normalisation
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.splits import write_splits
from histogenesis.patches.store import Cut, write_store


def stores(folder: Path, slides: int, each: int, px: int) -> PatchCollection:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (each, px, px, 3), dtype=np.uint8)
    rows = []
    for n in range(slides):
        cut = Cut(f"s{n}", px, px * each, px, 1.0)
        cut.coords = np.stack([np.arange(each) * px, np.zeros(each)], axis=1).astype(np.int64)
        cut.mpp, cut.tissue = np.ones(each), np.ones(each, np.float32)
        write_store(folder / f"s{n}.h5", cut, pictures)
        rows.append({"slide": f"s{n}", "patient": f"s{n}", "split": "train", "x_from": 0.0, "x_to": 1.0})
    write_splits(folder / "splits.tsv", rows)
    return PatchCollection(folder, folder / "splits.tsv", "train")


def rate(read, images: int) -> float:
    """Images a second of processor time (user and system) of this process."""
    read()
    begin = time.process_time()
    read()
    return images / (time.process_time() - begin)


def by_h5py(folder: Path, patches: PatchCollection, chosen: np.ndarray, open_files: int):
    files: OrderedDict[int, h5py.File] = OrderedDict()

    def read():
        out = np.empty((patches.patch_px, patches.patch_px, 3), np.uint8)
        for i in chosen:
            n = int(patches._file[i])
            if n not in files:
                files[n] = h5py.File(folder / f"s{n}.h5", "r")
                if len(files) > open_files:
                    files.popitem(last=False)[1].close()
            files.move_to_end(n)
            files[n]["imgs"].read_direct(out, int(patches._index[i]))

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--patch-px", type=int, default=512)
    parser.add_argument("--each", type=int, default=4, help="patches of each slide")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        patches = stores(Path(name), args.slides, args.each, args.patch_px)
        chosen = np.random.default_rng(1).integers(len(patches), size=4 * args.batch)
        half = args.patch_px // 2
        corners = np.random.default_rng(2).integers(half, size=(len(chosen), 2)).tolist()
        common = patches, Normalisation.unit(), torch.exp, 1, True
        plain, cropped = Batches(*common, ["mpp"]), Batches(*common, ["mpp"], crop_px=half)
        picked = plain.pick(0, range(8))
        found = {
            "plain h5py": rate(by_h5py(Path(name), patches, chosen, 10**6), len(chosen)),
            "h5py, 128 files": rate(by_h5py(Path(name), patches, chosen, 128), len(chosen)),
            "ours": rate(lambda: patches.read(chosen), len(chosen)),
            "ours, cropped": rate(lambda: patches.read_windows(chosen, corners, half), len(chosen)),
            "host": rate(lambda: plain.pick(1, range(args.batch)), args.batch),
            "host, cropped": rate(lambda: cropped.pick(1, range(args.batch)), args.batch),
            "made": rate(lambda: plain.make(picked), 8),
        }
    print(f"{args.slides} slides, {args.patch_px} px, images a second and core; share of plain h5py")
    for what, images in found.items():
        print(f"{what:<16} {images:10.0f} {images / found['plain h5py']:8.2f}")


if __name__ == "__main__":
    main()
