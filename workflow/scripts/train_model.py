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

from histogenesis.config import Model, Sampler, Threshold, Training, WinnerModel, canonical
from histogenesis.device import computed_on
from histogenesis.diffusion.batches import Batches, normalisation_of
from histogenesis.diffusion.guidance import guided
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


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=Path, required=True, help="folder of the patch set's HDF5 files")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument("--options", required=True, help="the recipe's model section, as JSON")
    parser.add_argument(
        "--winner", type=Path, help="winner.json of a study: train like it, but for what --options says"
    )
    parser.add_argument(
        "--state", type=Path, required=True, help="folder of the checkpoints; no output, survives failures"
    )
    parser.add_argument("--key", default="", help="digest of the code: another digest is another training")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads; part of the recipe, as it rounds")
    parser.add_argument("--out", type=Path, required=True, help="the model's folder")
    return parser.parse_args()


def like_the_winner(args: argparse.Namespace) -> Model:
    """The model section of a study's winner, with the classes and the changes to the training that the recipe wants."""
    wanted = WinnerModel.model_validate_json(args.options)
    model = json.loads(args.winner.read_text())["model"]
    changed = {
        "patches": wanted.patches,
        "classes": wanted.classes,
        "training": {**model["training"], **wanted.training},
    }
    return Model.model_validate({**model, **changed})


def from_noise(trainer: Trainer, options: Training, held_out: PatchCollection, mpps: list[float]) -> list[torch.Tensor]:
    """What a denoiser draws at each mpp, of each class that it is told: (n, 3, p, p), model units."""
    px, full = held_out.patch_px, torch.ones(options.sample_images, device=trainer.device)
    denoiser, rows = trainer.denoiser, []
    learned = denoiser.objective.sigmas
    sampler = Sampler(
        kind="dpmpp-2m", steps=min(20, len(learned or range(20))), threshold=SAMPLE_THRESHOLD if learned else None
    )
    solver = stages(**sampler.solver, learned=learned)

    def estimate(x, sigma, mpp, label):
        made = guided(denoiser, label)(x, full * sigma, full * mpp)
        return thresholded(made, sampler.threshold, denoiser.normalisation)

    for mpp, label in kinds(denoiser, mpps):
        noise = torch.from_numpy(normal((len(full), 3, px, px), "samples", options.seed)).to(trainer.device)
        rows.append(sample(lambda x, sigma, m=mpp, c=label: estimate(x, sigma, m, c), noise, solver))
    return rows


def kinds(denoiser, mpps: list[float]) -> list[tuple[float, str | None]]:
    """What rows of samples there are: each mpp, and at each mpp each class."""
    return [(mpp, label) for mpp in mpps for label in denoiser.classes or [None]]


def enlarged(trainer: Trainer, options: Training, held_out: PatchCollection, mpps: list[float]) -> list[torch.Tensor]:
    """Held-out patches of each mpp (the nearest there is), made by an upscaler from their average over 2 x 2 px."""
    rows, there = [], np.unique(held_out.mpp)
    for mpp in mpps:
        chosen = np.flatnonzero(held_out.mpp == there[np.abs(there - mpp).argmin()])[: options.sample_images]
        patches = torch.from_numpy(held_out.read(chosen).transpose(0, 3, 1, 2)).to(trainer.device)
        small = avg_pool2d(trainer.denoiser.normalisation.encode(patches), trainer.denoiser.objective.factor)
        rows.append(trainer.denoiser(small))
    return rows


SAMPLES = {"super-resolution": enlarged}  # denoisers: from noise


def main() -> None:
    args = arguments()
    hold(args.state)
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.deterministic = True
    device = join_processes()
    section = like_the_winner(args) if args.winner else Model.model_validate_json(args.options)
    patches = PatchCollection(args.patches, args.splits, "train", section.classes)
    held_out = PatchCollection(args.patches, args.splits, "validation", section.classes)
    classes = patches.classes if "label" in section.conditions else []

    options = section.model_dump(mode="json")
    options["training"] = {k: v for k, v in options["training"].items() if k not in REPORTING}
    digest = blake2b(f"{canonical(options)} {patches.digest} {args.key}".encode(), digest_size=16).hexdigest()
    state = args.state / digest[:12]

    normalisation = normalisation_of(patches, section.objective.sigma_data)
    torch.manual_seed(section.training.seed)
    model = build_model(section, patches.patch_px, normalisation, classes)
    seed, draw_sigma = section.training.seed, model.objective.draw_sigma
    batches = Batches(
        patches, normalisation, draw_sigma, seed, section.training.augment, classes, section.label_dropout
    )
    checks = Batches(held_out, normalisation, draw_sigma, seed, augment=False, classes=classes)
    trainer = Trainer(model, section, batches, state, digest, device)
    trainer.resume()
    if trainer.step:
        print(f"going on from step {trainer.step}", flush=True)
    mpps = np.unique(patches.mpp)[::-1].tolist()  # [nan] where it is not known

    def draw_samples(step: int) -> None:
        with averaged(trainer), torch.no_grad():
            made = SAMPLES.get(section.objective.kind, from_noise)(trainer, section.training, held_out, mpps)
        rows = [normalisation.to_uint8(x).permute(0, 2, 3, 1).cpu().numpy() for x in made]
        names = [
            " ".join([f"{mpp:g} mpp"] * (mpp == mpp) + [label or ""]) for mpp, label in kinds(trainer.denoiser, mpps)
        ]
        save_grid(state / "samples" / f"{step:08d}.png", rows, names)

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
        trainer.average | trainer.buffers,
        section,
        normalisation,
        mpps=[mpp for mpp in mpps if mpp == mpp],
        classes=classes or patches.classes,
        patch_px=patches.patch_px,
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
