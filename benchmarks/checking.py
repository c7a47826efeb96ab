"""What it costs to prove files whole, beside the steps that write and read them, as ratios of processor time in one run.

    python benchmarks/checking.py

Patches: an epoch read the first time (each compared with its checksum) and later. Levels: a canvas read band by band, with
fletcher32 and without, and beside it the TIFF that is made of it. Training: what comparing adds to a step of the network that
ships, whose steps are short. Small files: digests of what a start or a job compares.
"""

import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch

from histogenesis.canvas.canvas import write_level
from histogenesis.core.hdf5 import fletcher32
from histogenesis.models.batch import Batch
from histogenesis.models.model import load_model
from histogenesis.models.shipped import folder_of
from histogenesis.patches.pixels import PixelReader
from histogenesis.patches.store import Cut, write_store
from histogenesis.provenance import whole
from histogenesis.recipe import SlideFile
from histogenesis.slides.write import write_slide

RNG = np.random.default_rng(0)


def seconds(work, times: int = 3) -> float:
    """The least processor time of several tries."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def patches(folder: Path, px: int, n: int = 200) -> None:
    cut = Cut("a", px, 10_000, 10_000, 0.5, RNG.integers(0, 9000, (n, 2)), np.full(n, 0.5), np.ones(n, np.float32))
    images, out, path = (
        RNG.integers(0, 256, (n, px, px, 3), np.uint8),
        np.empty((px, px, 3), np.uint8),
        folder / f"{px}.h5",
    )
    written = seconds(lambda: write_store(path, cut, images))
    reader = PixelReader([path], px)
    first = seconds(lambda: [reader.read("imgs", 0, k, out) for k in range(n)], 1)
    later = seconds(lambda: [reader.read("imgs", 0, k, out) for k in range(n)])
    check = seconds(lambda: [fletcher32(image) for image in images])
    print(f"patches of {px} px, ms each: written {1e3 * written / n:.3f} (checksum {1e3 * check / n:.3f}),", end=" ")
    print(f"read the first time {1e3 * first / n:.3f}, later {1e3 * later / n:.3f}")


def training(folder: Path, px: int = 64, batch: int = 16) -> None:
    """A step on crops of 32 px of patches of `px`, and the reading of its patches: compared (the first time), and later."""
    path, n = folder / "training.h5", 20 * batch
    cut = Cut("a", px, 10_000, 10_000, 0.5, RNG.integers(0, 9000, (n, 2)), np.full(n, 0.5), np.ones(n, np.float32))
    write_store(path, cut, RNG.integers(0, 256, (n, px, px, 3), np.uint8))
    reader, out = PixelReader([path], px), np.empty((px, px, 3), np.uint8)
    first, later = (seconds(lambda: [reader.read("imgs", 0, k, out) for k in range(n)], 1) / n * batch for _ in "12")
    denoiser = load_model(folder_of("gut-he-layout-v1")).train().requires_grad_(True)
    image = torch.randn(batch, 3, 32, 32)
    given = Batch(
        image, torch.randn_like(image), torch.full((batch,), 0.5), torch.full((batch,), 0.5), torch.arange(batch)
    )

    def step() -> None:
        denoiser.sample_loss(given, dropout=True).mean().backward()

    step()
    took = seconds(step)
    print(
        f"a training step of {batch} crops, ms: {1e3 * took:.0f}, its patches read and compared {1e3 * first:.2f}",
        end=" ",
    )
    print(f"({first / took:.1%} of a step, in the first epoch), later {1e3 * later:.2f} ({later / took:.2%})")


def level(folder: Path, side: int = 4096) -> None:
    rows = np.repeat(np.repeat(RNG.integers(0, 256, (side // 8, side // 8, 3), np.uint8), 8, 0), 8, 1)
    rows += RNG.integers(0, 8, rows.shape, np.uint8)
    path, plain = folder / "level0.h5", folder / "plain.h5"
    write_level(path, [(y, rows[y : y + 256]) for y in range(0, side, 256)], side, side, {"mpp": 0.5})
    with h5py.File(plain, "w") as file:
        file.create_dataset("image", data=rows, chunks=(256, 256, 3))

    def read(name: Path) -> None:
        with h5py.File(name, rdcc_nbytes=64 << 20) as file:
            for y in range(0, side, 256):
                file["image"][y : y + 256]

    checked, bare = seconds(lambda: read(path)), seconds(lambda: read(plain))
    tiff = seconds(lambda: write_slide(path, folder / "a.tif", SlideFile(), {}, threads=1), 1)
    print(f"level of {side} px, s: read {checked:.3f}, without checksums {bare:.3f};", end=" ")
    print(f"its TIFF {tiff:.2f}, of which checking is {(checked - bare) / tiff:.1%}")


def marks(folder: Path, n: int = 1000) -> None:
    run = folder / "results/r"
    names = [run / f"slides/{k}.json" for k in range(n)]
    names[0].parent.mkdir(parents=True)
    for name in names:
        name.write_text("x" * 2000)
    noted = seconds(lambda: whole.vouch(run, "register", {}, map(str, names)), 1)
    looked = seconds(lambda: whole.damage_in(run))
    print(f"{n} small files, s: marked when they are written {noted:.2f}, compared when a run starts {looked:.2f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for px in (64, 256, 512):
            patches(Path(name), px)
        training(Path(name))
        level(Path(name))
        marks(Path(name))
