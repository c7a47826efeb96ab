"""What a GPU makes of the networks and of training, against what it can. PyTorch, NumPy, h5py, safetensors and tqdm are enough.

    python benchmarks/gpu.py [--model harb|demo|FOLDER] [--minutes 9] [--out gpu.json]

In this order, each part skipped when the time is spent: ceilings (copy, bfloat16 product); one evaluation of the network,
eager, channels last, compiled and as a CUDA graph, at several batches, with the error against float32 and the shares of the
ceilings; a ladder of harb's kind drawn by the engine, from z_0 to 32 times its side, with a tissue plan and its state on
the device: seconds per Mpx of the finest level for the whole of drawing, and what bounds it; one level again, interrupted
once; training, fed from patches that are held there. Without a GPU all sizes are small, and the numbers only show that it
runs.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.canvas.constraints import Constraint, NoConstraint, NullSpace, Relaxation
from histogenesis.canvas.engine import Drawing
from histogenesis.canvas.joinings import GridShift, Independent, Joining
from histogenesis.canvas.task import Bundle
from histogenesis.core.interrupt import Stopped
from histogenesis.models.batches import Batches
from histogenesis.models.costs import cost
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.model import build_model, load_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.options import ModelOptions
from histogenesis.models.speed import Replayed, cast_weights
from histogenesis.models.training import Trainer

UNIT = Normalisation([180.0, 140.0, 170.0], 45.0, 0.5)
NETWORKS = {
    "harb": {
        "channels": 64,
        "multipliers": [0.5, 1, 1, 2, 2, 4, 4],
        "blocks": 2,
        "attention_px": [32, 16, 8],
        "heads": 4,
    },
    "demo": {"channels": 32, "multipliers": [1, 2, 2], "blocks": 1, "attention_px": [8], "heads": 2},
}
EDM = {"kind": "edm", "sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2}


class Clock:
    """Seconds of work on a device, and how much time is left."""

    def __init__(self, device: str, minutes: float):
        self.device, self.end = device, time.monotonic() + 60 * minutes

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()

    def time(self, work: Callable[[], object], least_s: float = 0.5) -> float:
        """Seconds of one run, after a first that is not counted."""
        work()
        self.wait()
        begin, runs = time.perf_counter(), 0
        while time.perf_counter() - begin < least_s:
            work()
            self.wait()
            runs += 1
        return (time.perf_counter() - begin) / runs


def section(name: str, **training) -> dict:
    network = {"kind": "ddpmpp", "dropout": 0.0, **NETWORKS[name]}
    return {"network": network, "objective": EDM, "conditions": ["mpp"], "training": {"steps": 1, **training}}


def fresh(name: str, px: int, device: str) -> Denoiser:
    """A network whose weights are those of no training, but of which every branch does something."""
    if name not in NETWORKS:
        return load_model(Path(name), device, fast=False)
    torch.manual_seed(0)
    model = build_model(section(name), px, UNIT).to(device)
    with torch.no_grad():
        for w in model.network.parameters():
            w.add_(0.02 * torch.randn_like(w))
    return model.eval().requires_grad_(False)


def ceilings(clock: Clock, size: int) -> dict:
    """Bytes a second of a copy (read and written), and FLOP a second of a product of two bfloat16 matrices."""
    a = torch.empty(size * size * 4, dtype=torch.uint8, device=clock.device)
    b = torch.empty_like(a)
    copied = 2 * a.numel() / clock.time(lambda: b.copy_(a))
    m = torch.randn(size, size, device=clock.device, dtype=torch.bfloat16)
    return {"copy_GB_s": copied / 1e9, "bf16_TFLOP_s": 2 * size**3 / clock.time(lambda: m @ m) / 1e12}


def network(clock: Clock, name: str, px: int, batches: list[int], tops: dict) -> list[dict]:
    """Milliseconds per Mpx and evaluation of each way to run it."""
    found, on_gpu = [], clock.device != "cpu"
    ways = ["float32", "autocast", "cast once", *(["channels last", "compiled", "graph"] if on_gpu else [])]
    for batch in batches:
        g = torch.Generator(clock.device).manual_seed(1)
        x = torch.randn(batch, 3, px, px, device=clock.device, generator=g)
        sigma, mpp = torch.linspace(0.1, 5, batch, device=clock.device), torch.ones(batch, device=clock.device)
        wanted = None
        for way in ways:
            if clock.left < 20:
                return found
            model = fresh(name, px, clock.device)
            model.precision = "fp32" if way == "float32" else "bf16"
            if way not in ("float32", "autocast"):
                cast_weights(model)
            if way in ("channels last", "compiled", "graph"):
                model.network.to(memory_format=torch.channels_last)
                model.layout = torch.channels_last
            if way in ("compiled", "graph"):
                compiled = torch.compile(model.estimate, fullgraph=True, dynamic=False)
                model.run = Replayed(compiled) if way == "graph" else compiled
            try:
                with torch.inference_mode():
                    out = model(x, sigma, mpp).float()
                    seconds = clock.time(lambda m=model, x=x, s=sigma, mpp=mpp: m(x, s, mpp))
            except torch.OutOfMemoryError:
                found.append({"batch": batch, "way": way, "error": "out of memory"})
                continue
            wanted = out if way == "float32" else wanted
            scalings = model.objective.scalings(sigma[:, None, None, None])
            own = (wanted - scalings.skip * x).square().mean().sqrt()
            row = {"batch": batch, "way": way, "ms_per_Mpx": 1e9 * seconds / (batch * px**2)}
            row["error"] = float((out - wanted).square().mean().sqrt() / own)
            row |= of_ceilings(name, px, batch, batch, seconds, tops)
            found.append(row)
            print(json.dumps(row), flush=True)
    return found


@dataclass(frozen=True)
class Sampler:
    """A solver's numbers, and nothing besides: no guidance in an interval, threshold or scaling of epsilon."""

    kind: str
    steps: int
    sigma_min: float
    guided_sigmas = threshold = epsilon_scaling = None

    @property
    def solver(self) -> dict:
        return {"kind": self.kind, "steps": self.steps, "sigma_min": self.sigma_min}


@dataclass(frozen=True)
class Start:
    sigma: float


@dataclass(frozen=True)
class Drawn:
    """A level as harb draws it, in plain values (canvas/sections.py), and of one network its name, tile and sampler."""

    mpp: float
    tile_px: int
    batch: int
    sampler: Sampler
    constraint: Constraint
    joining: Joining
    start: Start | None
    model, state, lowres_noise, tile_by_tile, skip_background = "shared", "fp32", 0.0, False, None

    @property
    def stride_px(self) -> int:
        return self.tile_px

    @property
    def networks(self) -> tuple["Drawn"]:
        return (self,)


def level_of(k: int, tile_px: int, batch: int, steps: int) -> Drawn:
    """z_0 from noise alone; each next level from the one above, enlarged and noised to sigma 2, free below 0.25."""
    if not k:
        return Drawn(64, tile_px, 1, Sampler("heun", steps, 0.002), NoConstraint(), Independent(), None)
    constraint = NullSpace(relaxation=Relaxation(sigma=0.25))
    return Drawn(64 / 2**k, tile_px, batch, Sampler("dpmpp-2m", steps, 0.02), constraint, GridShift(), Start(2.0))


class Asked:
    """A denoiser that counts the pixels that it is asked for."""

    def __init__(self, denoise: Callable):
        self.denoise, self.pixels = denoise, 0

    def __call__(self, x: torch.Tensor, *more, **cond) -> torch.Tensor:
        self.pixels += x.shape[0] * x.shape[-1] ** 2
        return self.denoise(x, *more, **cond)


class After:
    """A wish to stop that comes after so many batches."""

    def __init__(self, batches: int):
        self.left = batches

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


def draw(
    folder: Path, model: Denoiser, denoise: Callable, k: int, sizes: tuple, device: str, stop: object = False
) -> str:
    """Level k of a ladder into folder, by the engine, below the one that lies there; half of it is tissue. Where its state lay.

    sizes: tile px, batch, steps.
    """
    tile_px, batch, steps = sizes
    y, x = np.mgrid[:tile_px, :tile_px] / tile_px - 0.5
    with LevelFile(folder / f"level{k - 1}.h5") if k else nullcontext() as above:
        d = Drawing(
            level_of(k, tile_px, batch, steps),
            (tile_px * 2**k, tile_px * 2**k),
            k,
            1,
            "benchmark",
            [Bundle(denoise, model.normalisation, model.conditions)],
            above=above,
            plan=(y**2 + x**2 < 0.5 / np.pi) if k else None,
            device=device,
        )
        easel = d.run(folder / f"state{k}", "benchmark", stop, save_every_s=1e9)
        d.finish(easel, folder / f"level{k}.h5")
    return easel.state.place


def drawing(clock: Clock, name: str, px: int, levels: int, batch: int, steps: int, tops: dict) -> dict:
    """A ladder of harb's kind from z_0, one tile, to a canvas of px * 2^levels: seconds, and what they are spent on.

    At first, not counted, level 1 at the ladder's own sizes: compilation. At last level 1 again, stopped half-way and taken up.
    """
    model = fresh(name, px, clock.device)
    model.precision = "bf16"
    if clock.device != "cpu":
        cast_weights(model)
        model.network.to(memory_format=torch.channels_last)
        model.layout = torch.channels_last
        model.run = Replayed(torch.compile(model.estimate, fullgraph=True, dynamic=False))
    asked, sizes = Asked(model), (px, batch, steps)
    found: dict = {"tile_px": px, "batch": batch, "steps": steps, "levels": []}
    with tempfile.TemporaryDirectory() as of_it:
        folder = Path(of_it)
        for k in (0, 1):
            draw(folder, model, model, k, sizes, clock.device)
            shutil.rmtree(folder / f"state{k}")
        for k in range(levels + 1):
            if k and clock.left < 4 * found["levels"][-1]["seconds"] + 30:
                break
            clock.wait()
            before, begin = asked.pixels, time.perf_counter()
            place = draw(folder, model, asked, k, sizes, clock.device)
            clock.wait()
            seconds, evaluated = time.perf_counter() - begin, asked.pixels - before
            shutil.rmtree(folder / f"state{k}")
            row = {"side_px": px * 2**k, "seconds": seconds, "state": place, "evaluated_Mpx": evaluated / 1e6}
            row["seconds_per_Mpx"] = 1e6 * seconds / (px * 2**k) ** 2
            found["levels"].append(row)
            print(json.dumps(row), flush=True)
        with LevelFile(folder / "level1.h5") as level:
            whole = level.image[:]
        batches = steps * 4 // batch  # about as many as hold tissue, and shifted grids have more
        try:
            draw(folder, model, model, 1, sizes, clock.device, After(max(1, batches // 2)))
            raise AssertionError("it was to be stopped")
        except Stopped:
            draw(folder, model, model, 1, sizes, clock.device)
        with LevelFile(folder / "level1.h5") as level:
            found["same_pixels_after_an_interruption"] = bool(np.array_equal(whole, level.image[:]))
    seconds = sum(row["seconds"] for row in found["levels"])
    found |= {"seconds": seconds, "seconds_per_Mpx": 1e6 * seconds / found["levels"][-1]["side_px"] ** 2}
    x, one = torch.randn(batch, 3, px, px, device=clock.device), torch.ones(batch, device=clock.device)
    with torch.inference_mode():
        network_s = clock.time(lambda: model(x, one, one)) * asked.pixels / (batch * px**2)
    found |= of_ceilings(name, px, batch, asked.pixels / px**2, seconds, tops)
    found["share_of_network"] = network_s / seconds
    if found["share_of_network"] < 0.5:
        found["bound_by"] = "the engine and the host"
    if clock.device != "cpu":
        found["peak_GB"] = torch.cuda.max_memory_allocated() / 1e9
    return found


def of_ceilings(name: str, px: int, batch: int, evaluations: float, seconds: float, tops: dict) -> dict:
    """How much of the measured ceilings so many evaluations of a picture are, in seconds; and which they are nearer to."""
    if name not in NETWORKS:
        return {}
    one = cost(section(name), px, batch).over(batch)
    found = {"share_of_bf16": one.flop * evaluations / seconds / 1e12 / tops["bf16_TFLOP_s"]}
    found["share_of_copy"] = one.bytes_fused * evaluations / seconds / 1e9 / tops["copy_GB_s"]
    return found | {"bound_by": "bytes" if found["share_of_copy"] > found["share_of_bf16"] else "FLOP"}


class Held:
    """Patches as a patch set has them."""

    label = np.array([])

    def __init__(self, px: int, n: int):
        self.patch_px, self.mpp = px, np.repeat([1.0, 2.0], n // 2)
        self.images = np.random.default_rng(0).integers(0, 256, (n, px, px, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.mpp)

    def read(self, indices) -> np.ndarray:
        return self.images[indices]


def training(clock: Clock, name: str, px: int, batch: int, micro: int, tops: dict, steps: int = 6) -> dict:
    """Images a second of the trainer itself, fed from held patches, after the first steps."""
    wanted = section(name, batch=batch, micro_batch=micro)
    wanted["training"] |= {"steps": 10_000, "precision": "bf16"}
    options, patches = ModelOptions.of(wanted), Held(px, 64)
    torch.manual_seed(0)
    model = build_model(options, px, UNIT)
    batches = Batches(patches, UNIT, model.objective.sample_sigma, 1, True)
    with tempfile.TemporaryDirectory() as state:
        trainer = Trainer(model, options, batches, Path(state), "", clock.device)
        batches.cache_on(clock.device)
        shares = trainer.micro_batches()

        def step() -> None:
            trainer.train_step([batches.read(trainer.step, share, clock.device) for share in shares])

        for _ in range(2):
            step()
        clock.wait()
        begin = time.perf_counter()
        for _ in range(steps):
            step()
        clock.wait()
        seconds = (time.perf_counter() - begin) / steps
    found = {"px": px, "batch": batch, "micro_batch": micro, "images_per_s": batch / seconds}
    found["seconds_per_Mpx"] = 1e6 * seconds / (batch * px**2)
    found |= of_ceilings(name, px, micro, 3 * batch, seconds, tops)  # backward costs twice the forward
    return found | ({"peak_GB": torch.cuda.max_memory_allocated() / 1e9} if clock.device != "cpu" else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=None, help="harb, demo, or a trained model's folder; default: harb on a GPU")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    on_gpu, clock = device == "cuda", Clock(device, args.minutes)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    name = args.model or ("harb" if on_gpu else "demo")
    px = 512 if on_gpu and name == "harb" else 64 if on_gpu else 32
    found = {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "torch": str(torch.__version__),
        "model": name,
    }
    found["ceilings"] = tops = ceilings(clock, 8192 if on_gpu else 512)
    print(json.dumps(found), flush=True)
    found["network"] = network(clock, name, px, [8, 16, 32] if on_gpu else [2], tops)
    parts = {
        "drawing": lambda: drawing(clock, name, px, 5 if on_gpu else 2, 16 if on_gpu else 2, 8 if on_gpu else 4, tops),
        "training": lambda: training(clock, name, px, 64 if on_gpu else 8, 16 if on_gpu else 8, tops),
    }
    for part, work in parts.items():
        if clock.left < 30:
            print(f"{part}: no time left")
        elif part != "training" or name in NETWORKS:
            found[part] = work()
            print(part, json.dumps(found[part]), flush=True)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
