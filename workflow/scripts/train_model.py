"""Train one model: patches and a recipe's model section in, weights, a log and pictures out.

Run again after it was killed or stopped, it goes on from its last checkpoint to the same weights.
"""

import argparse
import json
import shutil
import sys
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.functional import avg_pool2d

from histogenesis.config import Model, Sampler, Threshold, canonical
from histogenesis.device import computed_on
from histogenesis.diffusion.batches import Batches, normalisation_of
from histogenesis.diffusion.conditions import noised
from histogenesis.diffusion.model import build_model, save_model
from histogenesis.diffusion.noise import normal
from histogenesis.diffusion.samplers import sample, stages
from histogenesis.diffusion.threshold import thresholded
from histogenesis.diffusion.training import Trainer, averaged, join_processes, validation_loss
from histogenesis.errors import BadInput
from histogenesis.interrupt import Stopped, end_stopped, hold
from histogenesis.patches.dataset import PatchCollection
from histogenesis.pictures import plot_losses, save_grid

# What may change without making another training: its length (it goes on), and how often it reports.
REPORTING = {
    "steps",
    "checkpoint_every",
    "log_every",
    "validate_every",
    "validation_images",
    "sample_every",
    "sample_images",
}


# A schedule's first noise levels are so high that estimates leave what pictures can be; this keeps them there.
SAMPLE_THRESHOLD = Threshold(kind="dynamic")
SAMPLE_LOWRES_NOISE = 0.2


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=Path, required=True, help="folder of the patch set's HDF5 files")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument("--options", required=True, help="the recipe's model section, as JSON")
    parser.add_argument(
        "--state", type=Path, required=True, help="folder of the checkpoints; no output, survives failures"
    )
    parser.add_argument("--key", default="", help="digest of the code: another digest is another training")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; part of the recipe, as it rounds")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    return parser.parse_args()


def from_noise(trainer: Trainer, section: Model, checks: Batches, mpps: list[float]) -> list[torch.Tensor]:
    """What a denoiser draws at each mpp, beside held-out pictures where it is told some: (n, 3, p, p), model units."""
    denoiser, options, held_out, rows = trainer.denoiser, section.training, checks.patches, []
    px, n = options.crop_px or held_out.patch_px, options.sample_images
    full, learned = torch.ones(n, device=trainer.device), denoiser.objective.sigmas
    sampler = Sampler(kind="dpmpp-2m", steps=20, threshold=SAMPLE_THRESHOLD if learned else None)
    solver = stages(**sampler.solver, learned=learned)
    for mpp in mpps:
        told = {}
        if checks.pictures:
            seen = [picture[..., :px, :px] for picture in checks.seen(*nearest(checks, mpp, n))]
            if "lowres" in checks.pictures:
                level, noise = (
                    torch.full((n,), SAMPLE_LOWRES_NOISE),
                    normal(tuple(seen[0].shape), "lowres", options.seed),
                )
                seen[0], told["seen_noise_b"] = (
                    noised(seen[0], level, torch.from_numpy(noise)),
                    level.to(trainer.device),
                )
            told["seen_bchw"] = torch.cat(seen, dim=1).to(trainer.device)

        def estimate(x, sigma, mpp=mpp, told=told):
            return thresholded(denoiser(x, full * sigma, full * mpp, **told), sampler.threshold, denoiser.normalisation)

        noise = torch.from_numpy(normal((n, 3, px, px), "samples", options.seed)).to(trainer.device)
        rows.append(sample(estimate, noise, solver))
    return rows


def nearest(checks: Batches, mpp: float, n: int) -> tuple[torch.Tensor, list[int], list[int]]:
    """n held-out patches of the mpp (the nearest there is; repeated if they are few), in model units: what `seen` takes."""
    there = np.unique(checks.patches.mpp)
    found = np.flatnonzero(checks.patches.mpp == there[np.abs(there - mpp).argmin()])
    chosen, turns = np.resize(found, n).tolist(), [0] * n
    return checks.encoded(checks.patches.read(chosen), turns), chosen, turns


def enlarged(trainer: Trainer, section: Model, checks: Batches, mpps: list[float]) -> list[torch.Tensor]:
    """Held-out patches of each mpp, made by an upscaler from their average over 2 x 2 px."""
    made = [nearest(checks, mpp, section.training.sample_images)[0].to(trainer.device) for mpp in mpps]
    return [trainer.denoiser(avg_pool2d(image, trainer.denoiser.objective.factor)) for image in made]


SAMPLES = {"super-resolution": enlarged}  # denoisers: from noise


def main() -> None:
    args = arguments()
    hold(args.state)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.deterministic = True
    device = join_processes()
    section = Model.model_validate_json(args.options)
    patches = PatchCollection(args.patches, args.splits, "train")
    held_out = PatchCollection(args.patches, args.splits, "validation")

    options = section.model_dump(mode="json")
    options["training"] = {k: v for k, v in options["training"].items() if k not in REPORTING}
    digest = blake2b(f"{canonical(options)} {patches.digest} {args.key}".encode(), digest_size=16).hexdigest()
    state = args.state / digest[:12]

    normalisation = normalisation_of(patches, section.objective.sigma_data)
    torch.manual_seed(section.training.seed)
    model = build_model(section, section.training.crop_px or patches.patch_px, normalisation)
    seed, draw_sigma = section.training.seed, model.objective.draw_sigma
    seen = {
        "conditions": section.conditions,
        "lowres_factor": section.lowres_factor,
        "crop_px": section.training.crop_px,
    }
    batches = Batches(patches, normalisation, draw_sigma, seed, section.training.augment, **seen)
    checks = Batches(held_out, normalisation, draw_sigma, seed, augment=False, **seen)
    trainer = Trainer(model, section, batches, state, digest, device)
    trainer.resume()
    if trainer.step:
        print(f"going on from step {trainer.step}", flush=True)
    mpps = sorted(set(patches.mpp.tolist()), reverse=True)

    def draw_samples(step: int) -> None:
        with averaged(trainer), torch.no_grad():
            made = SAMPLES.get(section.objective.kind, from_noise)(trainer, section, checks, mpps)
        rows = [normalisation.to_uint8(x).permute(0, 2, 3, 1).cpu().numpy() for x in made]
        save_grid(state / "samples" / f"{step:08d}.png", rows, [f"{mpp:g} mpp" for mpp in mpps])

    try:
        trainer.run(lambda: validation_loss(trainer, checks, section.training.validation_images), draw_samples)
    except Stopped as stopped:
        end_stopped(stopped)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if trainer.rank:
        return
    save_model(
        args.out,
        trainer.average,
        section,
        normalisation,
        mpps=mpps,
        patch_px=section.training.crop_px or patches.patch_px,
        context_ratio=patches.context_ratio if "context" in section.conditions else None,
        steps=trainer.step,
        images=trainer.step * section.training.batch,
        patches=len(patches),
        training=digest,
        **computed_on(device),
    )
    shutil.copyfile(state / "train.jsonl", args.out / "train.jsonl")
    shutil.copyfile(state / "samples" / f"{trainer.step:08d}.png", args.out / "samples.png")
    log = [json.loads(line) for line in (args.out / "train.jsonl").read_text().splitlines()]
    plot_losses(args.out / "loss.png", log)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(f"error: {error}")
