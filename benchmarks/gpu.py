"""What a GPU makes of the networks and of training, against what it can. PyTorch, NumPy, h5py, safetensors and tqdm are enough.

    python benchmarks/gpu.py [--model harb|demo|FOLDER] [--minutes 9] [--out gpu.json]

In this order, each part skipped when the time is spent: ceilings (copy, bfloat16 product); one evaluation of the network,
eager, channels last, compiled and as a CUDA graph, at several batches, with the error against float32 and the shares of the
ceilings; a canvas whose state is on the device, drawn twice and interrupted once; training, fed from patches that are held
there. Without a GPU all sizes are small, and the numbers only show that it runs.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from histogenesis.core.field import NoiseField
from histogenesis.models.batches import Batches
from histogenesis.models.costs import cost
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.model import build_model, load_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.options import ModelOptions
from histogenesis.models.speed import Replayed, cast_weights
from histogenesis.models.training import Trainer
from histogenesis.sampling.solvers import solver_evaluations

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
    per_px = cost(section(name), px).over(px**2) if name in NETWORKS else None
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
            if per_px:
                row["share_of_bf16"] = per_px.flop * batch * px**2 / seconds / 1e12 / tops["bf16_TFLOP_s"]
                row["share_of_copy"] = per_px.bytes_fused * batch * px**2 / seconds / 1e9 / tops["copy_GB_s"]
                row["bound_by"] = "bytes" if row["share_of_copy"] > row["share_of_bf16"] else "FLOP"
            found.append(row)
            print(json.dumps(row), flush=True)
    return found


def canvas(clock: Clock, name: str, px: int, side: int, batch: int, steps: int = 8) -> dict:
    """A canvas of side x side px from noise at sigma 2 on, its state on the device and its tiles shifted in each pass."""
    model = fresh(name, px, clock.device)
    model.precision = "bf16"
    if clock.device != "cpu":
        cast_weights(model)
        model.network.to(memory_format=torch.channels_last)
        model.layout = torch.channels_last
        model.run = Replayed(torch.compile(model.estimate, fullgraph=True, dynamic=False))
    plan, seconds = solver_evaluations("dpmpp-2m", steps, sigma_max=2.0), {"noise": 0.0, "network": 0.0, "rest": 0.0}
    ones = torch.ones(batch, device=clock.device)

    def timed(part: str, work: Callable):
        clock.wait()
        begin = time.perf_counter()
        out = work()
        clock.wait()
        seconds[part] += time.perf_counter() - begin
        return out

    @torch.inference_mode()
    def draw(x: torch.Tensor, memory: torch.Tensor | None, first: int, last: int) -> tuple:
        for number in range(first, last):
            stage = plan[number]
            shift = [int(v) for v in np.random.default_rng(number).integers(0, px, 2)]
            rolled = timed("rest", lambda x=x, shift=shift: x.roll(shift, (1, 2)))
            tiles = rolled.reshape(3, side // px, px, side // px, px).permute(1, 3, 0, 2, 4).reshape(-1, 3, px, px)
            denoised = torch.empty_like(tiles)
            for start in range(0, len(tiles), batch):
                some = tiles[start : start + batch]
                padded = torch.cat([some, some[-1:].expand(batch - len(some), -1, -1, -1)])
                made = timed("network", lambda p=padded, s=stage.sigma: model(p, ones * s, ones))
                denoised[start : start + batch] = made[: len(some)]
            grid = denoised.reshape(side // px, side // px, 3, px, px).permute(2, 0, 3, 1, 4).reshape(3, side, side)
            back = grid.roll([-v for v in shift], (1, 2))
            x, memory = timed("rest", lambda x=x, b=back, m=memory, stage=stage: stage.update(x, b, m))
        return x, memory

    field = NoiseField(1, "benchmark", device=clock.device)
    begin = time.perf_counter()
    noise = timed("noise", lambda: plan[0].sigma * field.window(0, 0, side, side))
    once, _ = draw(noise, None, 0, steps)
    picture = timed("rest", lambda: UNIT.to_uint8(once))
    total, parts = time.perf_counter() - begin, dict(seconds)
    half, memory = draw(noise, None, 0, steps // 2)
    again, _ = draw(half.clone(), None if memory is None else memory.clone(), steps // 2, steps)
    found = {"side_px": side, "evaluations": steps, "seconds_per_Mpx": 1e6 * total / side**2, "parts_s": parts}
    if clock.device != "cpu":
        found["peak_GB"] = torch.cuda.max_memory_allocated() / 1e9
    return found | {"same_pixels_after_an_interruption": bool(torch.equal(picture, UNIT.to_uint8(again)))}


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
    flop = 3 * cost(wanted, px).flop * batch  # backward costs twice the forward
    found = {"px": px, "batch": batch, "micro_batch": micro, "images_per_s": batch / seconds}
    found["share_of_bf16"] = flop / seconds / 1e12 / tops["bf16_TFLOP_s"]
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
        "canvas": lambda: canvas(
            clock, name, px, (16384 if px == 512 else 4096) if on_gpu else 128, 8 if on_gpu else 4
        ),
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
