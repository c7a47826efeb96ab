"""How much of held-out patches an autoencoder keeps: what a model that draws in its latent space cannot exceed.
Writes the numbers as JSON, and patches above their reconstructions."""

import argparse
import sys
from pathlib import Path

import torch

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.evaluate import write_json
from histogenesis.evaluation.reconstruction import measure, perceptual_distance, reconstruct
from histogenesis.models.model import load_model
from histogenesis.patches.dataset import PatchCollection
from histogenesis.report.training_pictures import save_grid

SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the autoencoder's folder")
    parser.add_argument("--patches", type=Path, required=True, help="folder of the patch set that it learnt from")
    parser.add_argument("--splits", type=Path, required=True, help="splits.tsv")
    parser.add_argument("--images", type=int, default=500, help="at most so many held-out patches, spread evenly")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads: another number rounds differently")
    parser.add_argument("--out", type=Path, required=True, help="the numbers, JSON")
    parser.add_argument("--picture", type=Path, required=True, help="patches above their reconstructions, PNG")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    try:
        model = load_model(args.model, "cuda" if torch.cuda.is_available() else "cpu")
        held_out = PatchCollection(args.patches, args.splits, "validation")
        rows = torch.linspace(0, len(held_out) - 1, min(args.images, len(held_out))).round().long().numpy()
        images = held_out.read(rows)
        made, codes = reconstruct(model, images)
        perceptual = perceptual_distance(model, images, made)
        found = measure(images, made, codes, model.network.codes.num_embeddings, held_out.patient[rows], perceptual)
    except BadInput as error:
        sys.exit(f"error: {error}")
    write_json(args.out, found)
    save_grid(args.picture, [images[:SHOWN], made[:SHOWN]], ["held out", "reconstructed"])
    print(f"PSNR {found['psnr']['value']:.1f} dB, SSIM {found['ssim']['value']:.3f}, {found['codes_used']} codes used")


if __name__ == "__main__":
    main()
