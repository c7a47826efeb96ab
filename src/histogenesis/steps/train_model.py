"""Train one model: patches and a recipe's model section in, weights, a log and pictures out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from histogenesis.core.device import compute_with, computed_on
from histogenesis.core.errors import BadInput
from histogenesis.core.interrupt import hold
from histogenesis.core.whole import load_json
from histogenesis.models.batches import Batches, normalisation_of
from histogenesis.models.card import read_card
from histogenesis.models.label_embeddings import read_label_embeddings
from histogenesis.models.model import build_model, load_model, save_model
from histogenesis.models.networks.vq import latent_std
from histogenesis.models.start import Start
from histogenesis.models.training import Trainer, ema_weights, join_processes, validation_loss
from histogenesis.patches.dataset import PatchCollection
from histogenesis.recipe import Model, WinnerModel, canonical
from histogenesis.recipe.identity import bearing
from histogenesis.report.training_pictures import plot_losses, save_grid
from histogenesis.sampling.progress import SAMPLES, from_noise, kinds
from histogenesis.steps.inputs import digest_of

# What may change without making another training, beside what bears on no byte: its length (it goes on), and what it shows.
SHOWN = {"steps", "validation_images", "sample_images"}
LATENT_STD_IMAGES = 256  # training patches on which the standard deviation of an autoencoder's latents is measured


def train_model(
    *,
    patches: Path,
    splits: Path,
    options: Model | WinnerModel,
    state: Path,
    out: Path,
    winner: Path | None = None,
    autoencoder: Path | None = None,
    key: str = "",
    threads: int = 1,
) -> None:
    """Train one model: patches and a recipe's model section in, weights, a log and pictures out.

    Called again after it was killed or stopped, it goes on from its last checkpoint to the same weights. Several
    processes (core/launch.py) share the work. Raises BadInput for patches that do not fit the section; Stopped, with the state
    saved, when asked to end.

    patches: folder of the patch set's HDF5 files
    splits: splits.tsv
    options: the recipe's section of this model
    state: folder of the checkpoints; no output, survives failures
    out: the model's folder
    winner: winner.json of a study: train like it, but for what the options say
    autoencoder: folder of the trained model in whose latent space this one draws
    key: digest of the code: another digest is another training
    threads: CPU threads; part of the recipe, as it rounds
    """
    hold(state)
    compute_with(threads)
    device = join_processes()
    section = section_of(options, winner)
    learnt = PatchCollection(patches, splits, "train", section.classes)
    first_stage = FirstStage.read(autoencoder)
    start = Start(section.training.start) if section.training.start else None
    embeddings = embeddings_of(section, learnt)
    digest = digest_of_training(section, learnt.digest, key, start, first_stage, embeddings)
    state = state / digest[:12]
    trainer, batches, checks = prepare(
        section, learnt, (patches, splits), state, digest, device, start, first_stage, embeddings
    )
    trainer.resume()
    if trainer.step:
        print(f"going on from step {trainer.step}", flush=True)
    mpps = np.unique(learnt.mpp)[::-1].tolist()  # [nan] where it is not known
    render_samples = sampled(trainer, section, checks, mpps, device, state / "samples")
    try:
        trainer.run(lambda: validation_loss(trainer, checks, section.training.validation_images), render_samples)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if trainer.rank:
        return
    facts = facts_of(trainer, section, learnt, batches, start, first_stage, device)
    save_model(
        out,
        trainer.ema | trainer.buffers | getattr(trainer.denoiser, "frozen_weights", dict)(),
        section,
        batches.normalisation,
        mpps=[mpp for mpp in mpps if mpp == mpp],
        training=digest,
        **facts,
        **computed_on(device),
    )
    shutil.copyfile(state / "train.jsonl", out / "train.jsonl")
    render_samples(trainer.step, out / "samples.png")
    plot_losses(out / "loss.png", [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()])


@dataclass(frozen=True)
class FirstStage:
    """The trained autoencoder in whose space a model draws, if there is one: itself, its model.json, its weights' digest."""

    model: Any = None
    card: dict[str, Any] | None = None
    digest: str = ""

    @staticmethod
    def read(folder: Path | None) -> FirstStage:
        if folder is None:
            return FirstStage()
        card = read_card(folder)
        return FirstStage(load_model(folder), card, digest_of(folder / "model.safetensors"))

    @property
    def with_latent_std(self) -> tuple[Any, float] | None:
        """What `build_model` takes."""
        return (self.model, self.card["latent_spread"]) if self.card else None


def section_of(options: Model | WinnerModel, winner: Path | None) -> Model:
    """The model section; of a study's winner, with the classes and the changes to the training that the recipe wants."""
    if isinstance(options, Model):
        return options
    if winner is None:
        raise BadInput(f"a model like the winner of {options.winner_of} needs the study's winner.json: give --winner")
    model = load_json(winner)["model"]
    changed = {"patches": options.patches, "classes": options.classes}
    return Model.model_validate({**model, **changed, "training": {**model["training"], **options.training}})


def embeddings_of(section: Model, learnt: PatchCollection) -> np.ndarray | None:
    """The given vectors of the classes that the model is told, (classes, width); nothing where it learns its own."""
    given = section.label_embeddings
    return read_label_embeddings(Path(given.file), cond_classes(section, learnt), given.width) if given else None


def digest_of_training(
    section: Model, patches: str, key: str, start: Start | None, first_stage: FirstStage, embeddings: np.ndarray | None
) -> str:
    """What the trained weights follow from: the section but for what it only shows, patches, code, the models beneath, and what
    is given of classes."""
    options = bearing(section)
    free = SHOWN - {"steps"} if section.training.cosine_to is not None else SHOWN
    options["training"] = {k: v for k, v in options["training"].items() if k not in free}
    options["training"]["start"] = start.digest if start else None  # what it is, and not where it lies
    text = f"{canonical(options)} {patches} {key} {first_stage.digest}"
    if embeddings is not None:
        text += f" {blake2b(embeddings.tobytes(), digest_size=16).hexdigest()}"
    return blake2b(text.rstrip().encode(), digest_size=16).hexdigest()


def prepare(
    section: Model,
    learnt: PatchCollection,
    files: tuple[Path, Path],
    state: Path,
    digest: str,
    device: str,
    start: Start | None,
    first_stage: FirstStage,
    embeddings: np.ndarray | None = None,
) -> tuple[Trainer, Batches, Batches]:
    """The trainer, with the batches that it learns from and those that it is checked on."""
    training, seed = section.training, section.training.seed
    held_out = PatchCollection(*files, "validation", section.classes)
    classes = cond_classes(section, learnt)
    sigma_data = None if first_stage.card else section.objective.sigma_data
    normalisation = start.normalisation if start else normalisation_of(learnt, sigma_data)
    torch.manual_seed(seed)
    patch_px = training.crop_px or learnt.patch_px
    model: Any = build_model(section, patch_px, normalisation, classes, first_stage.with_latent_std)
    if start:
        start.fill(model, section.model_dump(mode="json"), classes, patch_px)
    if embeddings is not None:
        model.network.label_embedding.give(torch.from_numpy(embeddings))
    cond_options: dict[str, Any] = {
        "conditions": section.conditions,
        "lowres_factor": section.lowres_factor,
        "lowres_noise_limit": section.lowres_noise_limit,
        "crop_px": training.crop_px,
        "crop_context": training.crop_context,
        "classes": classes,
    }
    common = (normalisation, model.objective.sample_sigma, seed)
    batches = Batches(learnt, *common, training.augment, **cond_options, label_dropout=section.label_dropout)
    checks = Batches(held_out, *common, augment=False, **cond_options)
    return Trainer(model, section, batches, state, digest, device), batches, checks


def cond_classes(section: Model, learnt: PatchCollection) -> list[str]:
    """The classes that a model is told, if it is told any."""
    return learnt.classes if "label" in section.conditions else []


def sampled(
    trainer: Trainer, section: Model, checks: Batches, mpps: list[float], device: str, folder: Path
) -> Callable[..., None]:
    """What shows how far a training is: draws one sheet of samples for a step, into the folder or a file."""

    model: Any = trainer.denoiser

    def render_samples(step: int, file: Path | None = None) -> None:
        with ema_weights(trainer), torch.no_grad():
            made = SAMPLES.get(section.objective.kind, from_noise)(model, section, checks, mpps, device)
        rows = [model.to_uint8(x).permute(0, 2, 3, 1).cpu().numpy() for x in made]
        names = [" ".join([f"{mpp:g} mpp"] * (mpp == mpp) + [label or ""]) for mpp, label in kinds(model, mpps)]
        save_grid(file or folder / f"{step:08d}.png", rows, names)

    return render_samples


def facts_of(
    trainer: Trainer,
    section: Model,
    learnt: PatchCollection,
    batches: Batches,
    start: Start | None,
    first_stage: FirstStage,
    device: str,
) -> dict[str, Any]:
    """What model.json says of a training, beside its section."""
    facts: dict[str, Any] = {
        "classes": cond_classes(section, learnt) or learnt.classes,
        "patch_px": section.training.crop_px or learnt.patch_px,
        "context_ratio": learnt.context_ratio if "context" in section.conditions else None,
        "steps": trainer.step,
        "images": trainer.step * section.training.batch,
        "patches": len(learnt),
    }
    if first_stage.card:
        facts["autoencoder"] = first_stage.card
    if start:
        facts["start"] = {"model": section.training.start, "sha256": start.digest.split(",")[0]}
    if section.encodes:
        network: Any = trainer.denoiser.network
        some = np.linspace(0, len(learnt) - 1, min(LATENT_STD_IMAGES, len(learnt))).astype(int)
        with ema_weights(trainer):
            pixels = batches.encoded(learnt.read(some)).to(device)
            facts["latent_spread"] = round(latent_std(network, pixels), 6)
    return facts
