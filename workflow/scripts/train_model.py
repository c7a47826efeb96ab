"""Train one model: patches and a recipe's model section in, weights, a log and pictures out.

Run again after it was killed or stopped, it goes on from its last checkpoint to the same weights.
"""

import argparse
import json
import shutil
import sys
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from histogenesis.core.device import computed_on
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import Stopped, end_stopped, hold
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.model import build_model, load_model, save_model
from histogenesis.models.networks.vq import latent_spread
from histogenesis.models.start import Start
from histogenesis.models.training import Trainer, averaged, join_processes, validation_loss
from histogenesis.patches.dataset import PatchCollection
from histogenesis.recipe import Model, WinnerModel, canonical
from histogenesis.recipe.identity import bearing, section_text
from histogenesis.report.training_pictures import plot_losses, save_grid
from histogenesis.sampling.progress import SAMPLES, from_noise, kinds

# What may change without making another training, beside what bears on no byte: its length (it goes on), and what it shows.
SHOWN = {"steps", "validation_images", "sample_images"}
SPREAD_IMAGES = 256  # training patches on which the spread of an autoencoder's latents is measured


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=Path, required=True, help="folder of the patch set's HDF5 files")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument("--options", type=section_text, required=True, help="the recipe's model section, as JSON")
    parser.add_argument(
        "--winner", type=Path, help="winner.json of a study: train like it, but for what --options says"
    )
    parser.add_argument(
        "--autoencoder", type=Path, help="folder of the trained model in whose latent space this one draws"
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
    training = {**model["training"], **wanted.training}
    return Model.model_validate({**model, "patches": wanted.patches, "classes": wanted.classes, "training": training})


def read_autoencoder(folder: Path | None) -> tuple[tuple[torch.nn.Module, float] | None, dict, str]:
    """The trained autoencoder with its latents' spread, its model.json, and a digest of its weights."""
    if folder is None:
        return None, {}, ""
    card = json.loads((folder / "model.json").read_text())
    with open(folder / "model.safetensors", "rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return (load_model(folder), card["latent_spread"]), card, f" {digest}"


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

    first_stage, stage_card, stage_digest = read_autoencoder(args.autoencoder)
    options = bearing(section)
    free = SHOWN - {"steps"} if section.training.cosine_to is not None else SHOWN
    options["training"] = {k: v for k, v in options["training"].items() if k not in free}
    start = Start(section.training.start) if section.training.start else None
    options["training"]["start"] = start.digest if start else None  # what it is, and not where it lies
    digest = blake2b(
        f"{canonical(options)} {patches.digest} {args.key}{stage_digest}".encode(), digest_size=16
    ).hexdigest()
    state = args.state / digest[:12]

    normalisation = (
        start.normalisation
        if start
        else normalisation_of(patches, None if first_stage else section.objective.sigma_data)
    )
    torch.manual_seed(section.training.seed)
    model = build_model(section, section.training.crop_px or patches.patch_px, normalisation, classes, first_stage)
    if start:
        start.fill(model, section.model_dump(mode="json"), classes)
    seed, draw_sigma = section.training.seed, model.objective.draw_sigma
    seen = {
        "conditions": section.conditions,
        "lowres_factor": section.lowres_factor,
        "crop_px": section.training.crop_px,
        "crop_context": section.training.crop_context,
        "classes": classes,
    }
    dropped, augment = section.label_dropout, section.training.augment
    batches = Batches(patches, normalisation, draw_sigma, seed, augment, **seen, label_dropout=dropped)
    checks = Batches(held_out, normalisation, draw_sigma, seed, augment=False, **seen)
    trainer = Trainer(model, section, batches, state, digest, device)
    trainer.resume()
    if trainer.step:
        print(f"going on from step {trainer.step}", flush=True)
    mpps = np.unique(patches.mpp)[::-1].tolist()  # [nan] where it is not known

    def draw_samples(step: int, file: Path | None = None) -> None:
        with averaged(trainer), torch.no_grad():
            made = SAMPLES.get(section.objective.kind, from_noise)(model, section, checks, mpps, device)
        rows = [trainer.denoiser.to_uint8(x).permute(0, 2, 3, 1).cpu().numpy() for x in made]
        names = [
            " ".join([f"{mpp:g} mpp"] * (mpp == mpp) + [label or ""]) for mpp, label in kinds(trainer.denoiser, mpps)
        ]
        save_grid(file or state / "samples" / f"{step:08d}.png", rows, names)

    try:
        trainer.run(lambda: validation_loss(trainer, checks, section.training.validation_images), draw_samples)
    except Stopped as stopped:
        end_stopped(stopped)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if trainer.rank:
        return
    facts = {"autoencoder": stage_card} if stage_card else {}
    if start:
        facts["start"] = {"model": section.training.start, "sha256": start.digest.split(",")[0]}
    if section.objective.kind == "autoencoder":
        some = np.linspace(0, len(patches) - 1, min(SPREAD_IMAGES, len(patches))).astype(int)
        with averaged(trainer):
            pixels = batches.encoded(patches.read(some)).to(device)
            facts["latent_spread"] = round(latent_spread(trainer.denoiser.network, pixels), 6)
    save_model(
        args.out,
        trainer.average | trainer.buffers | getattr(trainer.denoiser, "kept", dict)(),
        section,
        normalisation,
        mpps=[mpp for mpp in mpps if mpp == mpp],
        classes=classes or patches.classes,
        patch_px=section.training.crop_px or patches.patch_px,
        context_ratio=patches.context_ratio if "context" in section.conditions else None,
        steps=trainer.step,
        images=trainer.step * section.training.batch,
        patches=len(patches),
        training=digest,
        **facts,
        **computed_on(device),
    )
    shutil.copyfile(state / "train.jsonl", args.out / "train.jsonl")
    draw_samples(trainer.step, args.out / "samples.png")
    log = [json.loads(line) for line in (args.out / "train.jsonl").read_text().splitlines()]
    plot_losses(args.out / "loss.png", log)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        sys.exit(f"error: {error}")
