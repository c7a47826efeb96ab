"""Membership inference on a run's own denoiser: its loss on training and on held-out patches, at several noise levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from histogenesis.core.errors import BadInput
from histogenesis.core.noise import normal
from histogenesis.evaluation.units import units
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.memorisation.membership import membership
from histogenesis.models.batch import Batch
from histogenesis.models.batches import Batches, Patches
from histogenesis.models.card import read_card
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.model import load_model
from histogenesis.patches.dataset import PatchCollection

SIGMAS = (0.1, 0.25, 0.5, 1.0, 2.0)  # of pictures whose sigma_data is 0.5: where a denoiser decides on details
BATCH = 32


def measure_membership(model_dir: Path, patches: Path, splits: Path, held_out: str, images: int, seed: int) -> dict:
    """As `metrics.memorisation.membership`, of the model that lies in model_dir. Raises BadInput where there is none."""
    (train, train_losses), (other, held_out_losses) = both_losses(model_dir, patches, splits, held_out, images, seed)
    of_train, of_other = (units(s, np.arange(len(s)), x) for s, x in ((train, train_losses), (other, held_out_losses)))
    return membership(train_losses, held_out_losses, list(SIGMAS), of_train, of_other, seed=seed)


def both_losses(
    model_dir: Path, patches: Path, splits: Path, held_out: str, images: int, seed: int
) -> list[tuple[ImageSet, np.ndarray]]:
    """Of training and of held-out patches: where they are from, without their pixels, and their losses (`losses_of`).

    Both are equally many at each mpp, so that neither side is easier for its mpps; at most `images` of each.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(Path(model_dir), device)
    if not isinstance(model, Denoiser) or model.channels != 3:
        raise BadInput(f"{model_dir}: it draws no pictures from noise, so that its loss on patches cannot be asked for")
    card = read_card(Path(model_dir))
    px, factor = card["patch_px"], card["section"].get("lowres_factor")
    if "lowres" in model.conditions and factor is None:
        raise BadInput(
            f"{model_dir}: its file does not say how coarse a picture it is shown, so that its loss cannot be asked for"
        )
    sides = [PatchCollection(Path(patches), Path(splits), split) for split in ("train", held_out)]
    return [
        (
            ImageSet("real", np.zeros((len(r), 0)), s.mpp[r], s.slide[r], s.patient[r], xy=s.coords[r]),
            losses_of(model, px, s, r, seed, device, factor),
        )
        for s, r in zip(sides, _alike(sides, images, seed))
    ]


@torch.no_grad()
def losses_of(
    model,
    px: int,
    patches: Patches,
    rows: np.ndarray,
    seed: int,
    device: str,
    lowres_factor: int | None = None,
) -> np.ndarray:
    """(n, sigmas): each patch's loss; the noise of a patch is the same at every sigma and depends on seed and patch alone.

    px: side of what the model has learnt; of larger patches, from which it learnt crops, the middle is taken. lowres_factor:
    how coarse the picture is that it is shown, if it is shown one.
    """
    batches = Batches(
        patches, model.normalisation, None, seed, False, model.conditions, lowres_factor, classes=model.classes
    )
    out = np.empty((len(rows), len(SIGMAS)))
    for start in range(0, len(rows), BATCH):
        chosen = [int(i) for i in rows[start : start + BATCH]]
        image = batches.encoded(patches.read(chosen))
        cond_images = batches.beside(image, chosen)
        image, *cond_images = [middle(pictures, px) for pictures in (image, *cond_images)]
        shape = tuple(image.shape[1:])
        noise = torch.from_numpy(np.stack([normal(shape, "membership", seed, i) for i in chosen]))
        mpp = torch.from_numpy(patches.mpp[chosen]).float()
        label = torch.from_numpy(batches.labels[chosen]) if batches.labels is not None else None
        lowres_noise = torch.zeros(len(chosen)) if "lowres" in batches.pictures else None
        keys = torch.zeros(len(chosen), dtype=torch.int32)
        for k, sigma in enumerate(SIGMAS):
            sigmas = torch.full((len(chosen),), sigma)
            batch = Batch(
                image,
                noise,
                sigmas,
                mpp,
                keys,
                torch.cat(cond_images, dim=1) if cond_images else None,
                lowres_noise,
                label,
            )
            out[start : start + BATCH, k] = model.sample_loss(batch.to(device), dropout=False).cpu().numpy()
    return out


def middle(pictures_bchw: torch.Tensor, px: int) -> torch.Tensor:
    start = (pictures_bchw.shape[-1] - px) // 2
    return pictures_bchw[..., start : start + px, start : start + px]


def _alike(sides: list[PatchCollection], images: int, seed: int) -> list[np.ndarray]:
    """Rows of each side, equally many at each mpp, at most `images` in all."""
    mpps = sorted(set(sides[0].mpp.tolist()) & set(sides[1].mpp.tolist()))
    chosen: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for mpp in mpps:
        found = [np.flatnonzero(side.mpp == mpp) for side in sides]
        n = min(images // len(mpps), *map(len, found))
        for part, rows, k in zip(chosen, found, (0, 1)):
            part.append(np.sort(np.random.default_rng([seed, k]).choice(rows, n, replace=False)))
    return [np.concatenate(part) if part else np.zeros(0, int) for part in chosen]
