"""What each training step sees: a function of (seed, step, place in the global batch)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from histogenesis.core.noise import generator
from histogenesis.models.batch import Batch
from histogenesis.models.conditions import low_resolution, noised, pictures_of
from histogenesis.models.normalisation import Normalisation
from histogenesis.patches.dataset import by_mpp


class Patches(Protocol):
    """What training needs of a patch set (patches.dataset.PatchCollection)."""

    mpp: np.ndarray
    label: np.ndarray

    def __len__(self) -> int: ...
    def read(self, indices) -> np.ndarray: ...
    def read_context(self, indices) -> np.ndarray: ...


class Batches:
    """The batches of a training: `read(step, places)` gives the samples at these places of step's global batch.

    A sample's mpp is drawn uniformly among those of the patch set, then a patch of that mpp: so the few patches that a
    coarse mpp has are seen as often as the many of a fine one. (Ours: Harb et al. do not say.)

    classes: if given, each sample has the row of its label in them, or -1 for a share `label_dropout` of the samples and for
    labels that are not among them.
    """

    def __init__(
        self,
        patches: Patches,
        normalisation: Normalisation,
        draw_sigma,
        seed: int,
        augment: bool,
        conditions: Sequence[str] = (),
        lowres_factor: int | None = None,
        crop_px: int | None = None,
        classes: Sequence[str] = (),
        label_dropout: float = 0.0,
    ):
        self.patches, self.normalisation, self.draw_sigma = patches, normalisation, draw_sigma
        self.seed, self.augment, self.crop_px = seed, augment, crop_px
        self.pictures, self.lowres_factor = pictures_of(conditions), lowres_factor
        self.by_mpp, self.label_dropout = by_mpp(patches.mpp), label_dropout
        rows = {label: k for k, label in enumerate(classes)}
        self.labels = np.array([rows.get(label, -1) for label in patches.label]) if classes else None

    def read(self, step: int, places: range) -> Batch:
        streams = [generator("training", self.seed, step, place) for place in places]
        chosen = []
        for stream in streams:
            indices = self.by_mpp[stream.integers(len(self.by_mpp))]
            chosen.append(int(indices[stream.integers(len(indices))]))
        turns = [int(s.integers(8)) for s in streams] if self.augment else [0] * len(streams)
        image = self.encoded(self.patches.read(chosen), turns)
        seen = self.seen(image, chosen, turns)
        if self.crop_px:
            image, *seen = crop([image, *seen], self.crop_px, streams)
        sigma = self.draw_sigma(torch.tensor([s.standard_normal() for s in streams], dtype=torch.float32))
        keys = torch.tensor([int(s.integers(-(2**31), 2**31)) for s in streams], dtype=torch.int32)
        noise = normal_like(image, streams)
        mpp = torch.from_numpy(self.patches.mpp[chosen]).float()
        label = self.told(chosen, streams)
        if not seen:
            return Batch(image, noise, sigma, mpp, keys, label=label)
        level = None
        if "lowres" in self.pictures:
            level = torch.tensor([s.random() for s in streams], dtype=torch.float32)
            seen[0] = noised(seen[0], level, normal_like(seen[0], streams))
        return Batch(image, noise, sigma, mpp, keys, torch.cat(seen, dim=1), level, label)

    def told(self, chosen: list[int], streams: list[np.random.Generator]) -> Tensor | None:
        """The row of each sample's class, -1 for those that are not told theirs; None where there are no classes."""
        if self.labels is None:
            return None
        kept = np.array([s.random() >= self.label_dropout for s in streams])
        return torch.from_numpy(np.where(kept, self.labels[chosen], -1))

    def encoded(self, pictures_nhwc: np.ndarray, turns: list[int]) -> Tensor:
        """Turned pictures in model units: (n, 3, p, p)."""
        pictures = np.stack([turned(picture, n) for picture, n in zip(pictures_nhwc, turns)])
        return self.normalisation.encode(torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))))

    def seen(self, image: Tensor, chosen: list[int], turns: list[int]) -> list[Tensor]:
        """The pictures beside these patches, in the order of their channels, without noise."""
        make = {
            "lowres": lambda: low_resolution(image, self.lowres_factor),
            "context": lambda: self.encoded(self.patches.read_context(chosen), turns),
        }
        return [make[name]() for name in self.pictures]


def crop(pictures: list[Tensor], side: int, streams: list[np.random.Generator]) -> list[Tensor]:
    """The same random square of each sample's pictures (the context's too: in drawing it lies under the tile alike)."""
    last = pictures[0].shape[-1] - side + 1
    corners = [tuple(s.integers(last, size=2).tolist()) for s in streams]
    return [
        torch.stack([one[:, y : y + side, x : x + side] for one, (y, x) in zip(p, corners)]).contiguous()
        for p in pictures
    ]


def normal_like(image: Tensor, streams: list[np.random.Generator]) -> Tensor:
    """Standard normal noise, each sample's from its own stream."""
    return torch.from_numpy(np.stack([s.standard_normal(image.shape[1:], dtype=np.float32) for s in streams]))


def turned(picture_hwc: np.ndarray, which: int) -> np.ndarray:
    """One of the eight flips and rotations of a square picture."""
    picture = np.rot90(picture_hwc, which % 4)
    return picture[:, ::-1] if which >= 4 else picture


def normalisation_of(patches: Patches, sigma_data: float | None, at_most: int = 512) -> Normalisation:
    """Measure mean and spread on patches of every mpp alike; without a sigma_data, pictures are in [-1, 1]."""
    if sigma_data is None:
        return Normalisation.unit()
    groups = by_mpp(patches.mpp)
    each = max(1, at_most // len(groups))
    chosen = [index[np.linspace(0, len(index) - 1, min(each, len(index))).astype(int)] for index in groups]
    repeated = np.concatenate([np.resize(index, each) for index in chosen])
    return Normalisation.measure(patches.read(list(repeated)), sigma_data)
