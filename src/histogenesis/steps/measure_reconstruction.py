"""How much of held-out patches an autoencoder keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from histogenesis.core.device import compute_with
from histogenesis.evaluation.files import write_json
from histogenesis.evaluation.reconstruction import measure, perceptual_distance, reconstruct
from histogenesis.models.model import load_model
from histogenesis.patches.dataset import PatchCollection
from histogenesis.report.training_pictures import save_grid

SHOWN = 8


def measure_reconstruction(
    *, model: Path, patches: Path, splits: Path, out: Path, picture: Path, images: int = 500, threads: int = 1
) -> None:
    """How much of held-out patches an autoencoder keeps: what a model that draws in its latent space cannot exceed.

    Writes the numbers as JSON, and patches above their reconstructions.

    model: the autoencoder's folder
    patches: folder of the patch set that it learnt from
    splits: splits.tsv
    out: the numbers, JSON
    picture: patches above their reconstructions, PNG
    images: at most so many held-out patches, spread evenly
    threads: CPU threads: another number rounds differently
    """
    autoencoder: Any = load_model(model, compute_with(threads))
    held_out = PatchCollection(patches, splits, "validation")
    rows = torch.linspace(0, len(held_out) - 1, min(images, len(held_out))).round().long().numpy()
    real = held_out.read(rows)
    reconstructions, codes = reconstruct(autoencoder, real)
    perceptual = perceptual_distance(autoencoder, real, reconstructions)
    size = autoencoder.network.codebook.num_embeddings
    found = measure(real, reconstructions, codes, size, held_out.patient[rows], perceptual)
    write_json(out, found)
    save_grid(picture, [real[:SHOWN], reconstructions[:SHOWN]], ["held out", "reconstructed"])
    print(f"PSNR {found['psnr']['value']:.1f} dB, SSIM {found['ssim']['value']:.3f}, {found['codes_used']} codes used")
