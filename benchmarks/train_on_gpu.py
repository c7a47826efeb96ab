"""A small model from a few slides in minutes: decoded once to the device, cut, turned and noised there, with no patch set.

    python benchmarks/train_on_gpu.py SLIDE.tif [...] --halvings 0 1 2 --sigma-limit 5 --minutes 9 --state STATE --out FOLDER

    ... --lowres-factor 2 --start gut-he-cells-v2    shown the level above, and begun with a model

Slides are tiled JPEG TIFF whose tags say their mpp. The trainer is the workflow's own: run again with the same --state it goes
on, and each run ends on a finished model (averaged weights in half precision, model.json). --channels, --multipliers, --batch,
--px and --lr are the network's and the training's; a model to start from brings its network; --token-px has a transformer on
pixels learn in the U-Net's place, as long and from the same noise. Without a GPU it runs too, slowly.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import tifffile
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from histogenesis.core.device import computed_on
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped
from histogenesis.models.model import build_model, save_model
from histogenesis.models.objectives import make_objective
from histogenesis.models.options import ModelOptions
from histogenesis.models.pyramids import SlideBatches
from histogenesis.models.start import Start
from histogenesis.models.training import Trainer, ema_weights


def decode(jpeg: bytes) -> np.ndarray:
    try:
        import cv2

        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    except ImportError:
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def read_slide(path: Path) -> tuple[np.ndarray, float]:
    """The finest level of a tiled JPEG TIFF, uint8 (H, W, 3), and its mpp."""
    with tifffile.TiffFile(path) as file, open(path, "rb") as data:
        page = file.pages[0]
        tags = page.tags
        if page.compression != 7 or not page.is_tiled or page.photometric != 6:
            raise BadInput(f"{path}: not tiled JPEG in YCbCr; read it with the workflow instead")
        unit, (over, under) = tags["ResolutionUnit"].value, tags["XResolution"].value
        mpp = {2: 25400.0, 3: 10000.0}[int(unit)] * under / over
        (height, width), side = page.shape[:2], (page.tilelength, page.tilewidth)
        out = np.full((height, width, 3), 255, np.uint8)
        tables, across = page.jpegtables, -(-width // side[1])
        for n, (offset, count) in enumerate(zip(page.dataoffsets, page.databytecounts)):
            if not count:
                continue
            data.seek(offset)
            jpeg = data.read(count)
            tile = decode(tables[:-2] + jpeg[2:] if tables else jpeg)
            y, x = n // across * side[0], n % across * side[1]
            out[y : y + side[0], x : x + side[1]] = tile[: height - y, : width - x]
    return out, mpp


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", type=Path, nargs="+")
    parser.add_argument(
        "--halvings", type=int, nargs="+", default=[0, 1, 2], help="resolutions: the slide's mpp times 2^n"
    )
    parser.add_argument("--px", type=int, default=64)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--multipliers", type=float, nargs="+", default=[1, 2, 2])
    parser.add_argument(
        "--token-px", type=int, default=None, help="of a transformer (jit), with --channels and --blocks"
    )
    parser.add_argument("--blocks", type=int, default=12, help="of a transformer")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--p-mean", type=float, default=-1.5)
    parser.add_argument("--p-std", type=float, default=1.2)
    parser.add_argument("--sigma-limit", type=float, default=None)
    parser.add_argument("--lowres-factor", type=int, help="shown the level above, of so many times the mpp")
    parser.add_argument("--lowres-noise-limit", type=float, default=1.0)
    parser.add_argument("--start", help="go on from this model: the name of one that ships, or a folder")
    parser.add_argument("--steps", type=int, default=1_000_000, help="of which the minutes allow some")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    start = Start(args.start) if args.start else None
    network = network_of(args, start)
    kind = "flow" if network["kind"] == "jit" else "edm"
    objective = {"kind": kind, "sigma_data": 0.5, "p_mean": args.p_mean, "p_std": args.p_std, "sigma_min": None}
    training = {"steps": args.steps, "batch": args.batch, "lr": args.lr, "seed": args.seed, "clip_gradient": 1.0}
    training |= {"warmup_steps": 200, "decay_after_steps": 5000, "ema_half_life_images": 100_000, "crop_px": args.px}
    training |= {"log_every": 100, "checkpoint_every": 10**9, "validate_every": 10**9, "sample_every": 10**9}
    section = {"patches": "slides", "network": network, "conditions": ["mpp"], "training": training}
    section |= {"objective": objective | {"sigma_limit": args.sigma_limit}}
    if args.lowres_factor:
        section |= {"conditions": ["mpp", "lowres"], "lowres_factor": args.lowres_factor}
        section |= {"lowres_noise_limit": args.lowres_noise_limit}
    options = ModelOptions.of(section)

    slides, mpps = zip(*map(read_slide, args.slides))
    sample_sigma = make_objective(options.objective).sample_sigma
    lowres = {"lowres_factor": args.lowres_factor, "lowres_noise_limit": args.lowres_noise_limit}
    units = {"normalisation": start.normalisation} if start else {}
    batches = SlideBatches(slides, mpps, args.halvings, args.px, sample_sigma, args.seed, device, **lowres, **units)
    del slides
    torch.manual_seed(args.seed)
    model = build_model(options, args.px, batches.normalisation)
    if start:
        start.fill(model, options.values, [], args.px)
    told = [options.values, [path.name for path in args.slides], *([start.digest] if start else [])]
    digest = json.dumps(told, sort_keys=True)
    trainer = Trainer(model, options, batches, args.state, digest, device)
    trainer.resume()
    print(f"{device}: from step {trainer.step}; places: { {n: len(p) for n, p in batches.places.items()} }", flush=True)
    timer = threading.Timer(60 * args.minutes, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    timer.daemon = True
    timer.start()
    with contextlib.suppress(Stopped):
        trainer.run(None, None)
    timer.cancel()
    write(args.out, trainer, options, batches)
    print(f"{args.out}: step {trainer.step}, {trainer.step * args.batch} images", flush=True)


def network_of(args: argparse.Namespace, start: Start | None) -> dict:
    """That of the model to start from, with attention at the same depth; or what the arguments say."""
    if start:
        network, learnt_px = dict(start.description["section"]["network"]), start.description["patch_px"]
        if network["kind"] == "jit":
            return network
        return network | {"attention_px": [px * args.px // learnt_px for px in network["attention_px"] or []]}
    if args.token_px:
        network = {"kind": "jit", "token_px": args.token_px, "channels": args.channels, "blocks": args.blocks}
        return network | {"heads": max(1, args.channels // 64)}
    network = {"kind": "ddpmpp", "channels": args.channels, "multipliers": args.multipliers, "blocks": 1}
    return network | {"attention_px": [args.px // 2 ** (len(args.multipliers) - 1)], "heads": 2, "dropout": 0.0}


@torch.no_grad()
def write(out: Path, trainer: Trainer, options: ModelOptions, batches: SlideBatches) -> None:
    """The averaged weights in half precision, with the loss that they have on patches of other seeds."""
    size = min(64, options.training.batch)
    losses = []
    with ema_weights(trainer):
        for n in range(8):
            batch = batches.read(2**40 + n, range(size), trainer.device)
            losses.append(trainer.denoiser.sample_loss(batch, False))
    save_model(
        out,
        {name: w.half() for name, w in trainer.ema.items()},
        options,
        batches.normalisation,
        mpps=sorted({round(float(mpp), 4) for rows in batches.places.values() for mpp in rows[:, 5]}, reverse=True),
        classes=[],
        patch_px=batches.px,
        context_ratio=None,
        steps=trainer.step,
        images=trainer.step * options.training.batch,
        loss=round(float(torch.cat(losses).mean()), 4),
        training=trainer.digest,
        **computed_on(trainer.device),
    )


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(f"error: {error}")
