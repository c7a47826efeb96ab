"""Noise over a canvas, in CPU milliseconds per megapixel of three channels, beside the generators that people use.

    python benchmarks/noise.py

Ours can be asked for any window, in any order, on any device; a stream cannot. NumPy's Philox is the nearest peer: by counters
too (4 words of 64 bits), but a stream of a ziggurat's choices. Each figure is the least of several runs that take turns.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from histogenesis.core.field import NoiseField
from histogenesis.core.noise import NoiseField as Streams

SIDE, RUNS = 1024, 12


def main() -> None:
    torch.set_num_threads(1)
    field, streams, mpx = NoiseField(1, "benchmark"), Streams(1, "benchmark"), SIDE**2 / 1e6
    philox, sfc = (np.random.Generator(one(1)) for one in (np.random.Philox, np.random.SFC64))
    corners = {px: [(y, x) for y in range(0, SIDE, px) for x in range(0, SIDE, px)] for px in (512, 64, 32)}
    ways: dict[str, Callable[[], object]] = {
        f"ours, windows of {px} px": lambda px=px, at=at: field.windows(at, px, px, 1) for px, at in corners.items()
    }
    ways |= {
        "blocks of 64 px, a NumPy Philox stream each": lambda: streams.window(0, 0, SIDE, SIDE, 1),
        "numpy Philox, one stream": lambda: philox.standard_normal((3, SIDE, SIDE), np.float32),
        "numpy SFC64, one stream": lambda: sfc.standard_normal((3, SIDE, SIDE), np.float32),
        "torch.randn": lambda: torch.randn(3, SIDE, SIDE),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RUNS):
        for name, work in ways.items():
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    for name, found in seconds.items():
        print(f"{name:45} {1000 * min(found) / mpx:7.1f}")


if __name__ == "__main__":
    main()
