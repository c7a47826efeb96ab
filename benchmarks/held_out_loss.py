"""The loss of trained models on what their run holds out, each with its own noise: the same crops, noise and turns each time.

    snakemake -c2 --configfile config/pretrained/gut-he.yaml -- results/gut-he/data.json
    python benchmarks/held_out_loss.py results/gut-he cells=gut-he-cells-v2 cells=gut-he-cells-weak-v1 [--crops 256]

Printed for each PATCHES=MODEL: the mean loss and its standard error over crops; for a model that is shown the level above, as
it was trained (that level noised by anything from 0 to 1) and as it draws (by at most 0.02). Losses of different distributions
of noise are not to be compared.
"""

import argparse
from pathlib import Path

import torch

from histogenesis.models.batches import Batches
from histogenesis.models.model import Denoiser, load_model
from histogenesis.models.shipped import folder_of
from histogenesis.patches.dataset import PatchCollection

SHARE = 16  # crops at once


def losses(model: Denoiser, patches: PatchCollection, crops: int, lowres_noise: float) -> torch.Tensor:
    """Of each crop, (crops,)."""
    fed = Batches(
        patches,
        model.normalisation,
        model.objective.sample_sigma,
        seed=1,
        augment=False,
        conditions=model.conditions,
        lowres_factor=2 if "lowres" in model.conditions else None,
        crop_px=32,
        lowres_noise_limit=lowres_noise,
    )
    shares = (range(first, min(first + SHARE, crops)) for first in range(0, crops, SHARE))
    with torch.inference_mode():
        return torch.cat([model.sample_loss(fed.read(0, share), dropout=False) for share in shares])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder with splits.tsv and patches/")
    parser.add_argument("models", nargs="+", metavar="PATCHES=MODEL")
    parser.add_argument("--crops", type=int, default=256)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, _, model_name in (one.partition("=") for one in args.models):
        held_out = PatchCollection(args.run / "patches" / name, args.run / "splits.tsv", "validation")
        model = load_model(folder_of(model_name)).eval()
        for noise in (1.0, 0.02) if "lowres" in model.conditions else (1.0,):
            found = losses(model, held_out, args.crops, noise)
            error = float(found.std() / len(found) ** 0.5)
            shown = f", level above noised to at most {noise:g}" if "lowres" in model.conditions else ""
            print(f"{model_name}, {name}{shown}: {float(found.mean()):.4f} +- {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
