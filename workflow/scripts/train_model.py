"""Train one model: patches and a recipe's model section in, weights, a log and pictures out.

Run again after it was killed or stopped, it goes on from its last checkpoint to the same weights.
"""

import argparse
import json
import shutil
import sys
from hashlib import blake2b
from pathlib import Path

import torch
import torch.distributed as dist

from histogenesis.config import Model, canonical
from histogenesis.device import computed_on
from histogenesis.diffusion.batches import Batches, normalisation_of
from histogenesis.diffusion.model import build_model, save_model
from histogenesis.diffusion.samples import SAMPLES, from_noise
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
            made = SAMPLES.get(section.objective.kind, from_noise)(model, section.training, checks, mpps, device)
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
