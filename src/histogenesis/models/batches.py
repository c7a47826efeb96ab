"""What each training step sees: a function of (seed, step, place in the global batch).

`pick` chooses on the host, and reads no more than it must: uint8, cropped. `make` does the rest on the device: turning,
encoding, noise, the pictures beside. Patches that fit are held on the device, and then nothing but their numbers goes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from histogenesis.core.geometry import by_mpp
from histogenesis.core.noise import generator
from histogenesis.models.batch import Batch
from histogenesis.models.conditions import add_noise, low_resolution, pictures_of
from histogenesis.models.keyed import LOWRES, NOISE, normals
from histogenesis.models.normalisation import Normalisation

CACHE_SHARE = 0.3  # of a GPU's free memory that patches may take: the network wants the rest
CACHED_AT_ONCE = 256  # patches on their way there


class Patches(Protocol):
    """What training needs of a patch set (patches.dataset.PatchCollection)."""

    mpp: np.ndarray
    label: np.ndarray
    patch_px: int

    def __len__(self) -> int: ...
    def read(self, indices: np.ndarray | Sequence[int]) -> np.ndarray: ...
    def read_context(self, indices: np.ndarray | Sequence[int]) -> np.ndarray: ...


@runtime_checkable
class Windowed(Protocol):
    """A patch set of whose patches windows alone can be read: with their top left corners (y, x), and their side."""

    def read_windows(
        self, indices: np.ndarray | Sequence[int], corners: Sequence[tuple[int, int]], side_px: int
    ) -> np.ndarray: ...
    def read_context(
        self, indices: np.ndarray | Sequence[int], corners: Sequence[tuple[int, int]] = (), side_px: int | None = None
    ) -> np.ndarray: ...


class Picked(NamedTuple):
    """A share of a step's batch before it is made: what the host chose. pictures: uint8 (B, h, w, 3), or none where patches
    are held; corners: of the crops in them, (y, x); the rest one number a sample."""

    pictures: list[Tensor]
    chosen: Tensor
    corners: list[tuple[int, int]]
    turn: Tensor
    normal: Tensor
    key: Tensor
    mpp: Tensor
    lowres_noise: Tensor
    label: Tensor | None

    def to(self, device: str) -> Picked:
        """On the device; from page-locked memory, so that the copy waits for nobody."""
        pin = torch.device(device).type == "cuda"

        def there(value):
            if isinstance(value, Tensor):
                return (value.pin_memory() if pin else value).to(device, non_blocking=True)
            return (
                [there(v) for v in value]
                if isinstance(value, list) and value and isinstance(value[0], Tensor)
                else value
            )

        return Picked(*(there(value) for value in self))


class Batches:
    """The batches of a training: `read(step, places)` gives the samples at these places of step's global batch.

    A sample's mpp is drawn uniformly among those of the patch set, then a patch of that mpp: so the few patches that a
    coarse mpp has are seen as often as the many of a fine one. (Ours: Harb et al. do not say.)

    crop_context: of the wider view, the window that is cropped of the patch too; or else all of it, in the crop's px.
    lowres_noise_limit: the noise of the condition `lowres` is uniform from 0 to this.
    classes: if given, each sample has the row of its label in them, or -1 for a share `label_dropout` of the samples and for
    labels that are not among them.
    """

    def __init__(
        self,
        patches: Patches,
        normalisation: Normalisation,
        sample_sigma,
        seed: int,
        augment: bool,
        conditions: Sequence[str] = (),
        lowres_factor: int | None = None,
        crop_px: int | None = None,
        classes: Sequence[str] = (),
        label_dropout: float = 0.0,
        crop_context: bool = True,
        lowres_noise_limit: float = 1.0,
    ):
        self.patches, self.normalisation, self.sample_sigma = patches, normalisation, sample_sigma
        self.seed, self.augment, self.crop_px, self.crop_context = seed, augment, crop_px, crop_context
        self.pictures, self.lowres_factor = pictures_of(conditions), lowres_factor
        self.lowres_noise_limit = lowres_noise_limit
        self.by_mpp, self.label_dropout = by_mpp(patches.mpp), label_dropout
        rows = {label: k for k, label in enumerate(classes)}
        self.labels = np.array([rows.get(label, -1) for label in patches.label]) if classes else None
        self.cached: list[Tensor] = []

    def read(self, step: int, places: range, device: str = "cpu") -> Batch:
        return self.make(self.pick(step, places).to(device))

    # ------------------------------------------------------------------ on the host

    def pick(self, step: int, places: range) -> Picked:
        """Choose these samples and read their pixels."""
        streams = [generator("training", self.seed, step, place) for place in places]
        chosen = []
        for stream in streams:
            indices = self.by_mpp[stream.integers(len(self.by_mpp))]
            chosen.append(int(indices[stream.integers(len(indices))]))
        turns = [int(s.integers(8)) if self.augment else 0 for s in streams]
        last = self.patches.patch_px - self.crop_px + 1 if self.crop_px else 1
        corners = [tuple(s.integers(last, size=2).tolist()) if self.crop_px else (0, 0) for s in streams]
        normal = torch.tensor([s.standard_normal() for s in streams], dtype=torch.float32)
        key = torch.tensor([int(s.integers(-(2**63), 2**63)) for s in streams])
        lowres_noise = torch.tensor([s.random() for s in streams], dtype=torch.float32)
        label = None
        if self.labels is not None:  # last, so that what a model is told changes nothing else that it sees
            keeps_label = np.array([s.random() >= self.label_dropout for s in streams])
            label = torch.from_numpy(np.where(keeps_label, self.labels[chosen], -1))
        return Picked(
            pictures=[] if self.cached else self._pixels(chosen, corners),
            chosen=torch.tensor(chosen),
            corners=corners,
            turn=torch.tensor(turns),
            normal=normal,
            key=key,
            mpp=torch.from_numpy(self.patches.mpp[chosen]).float(),
            lowres_noise=self.lowres_noise_limit * lowres_noise,
            label=label,
        )

    @property
    def early(self) -> bool:
        """Whether crops are cut as they are read: not where a picture beside them shows what lies around them."""
        whole_context = "context" in self.pictures and not self.crop_context
        return bool(self.crop_px) and "lowres" not in self.pictures and not whole_context

    def _pixels(self, chosen: list[int], corners: list[tuple[int, int]]) -> list[Tensor]:
        patches, beside = self.patches, "context" in self.pictures
        if self.early and isinstance(patches, Windowed):
            pictures = [patches.read_windows(chosen, corners, self.crop_px)]
            pictures += [patches.read_context(chosen, corners, self.crop_px)] if beside else []
        else:
            pictures = [patches.read(chosen), *([patches.read_context(chosen)] if beside else [])]
        return [torch.from_numpy(pixels) for pixels in pictures]

    def cache_on(self, device: str, share: float = CACHE_SHARE) -> bool:
        """Keep all patches on the device, if they fit in this share of its free memory; says whether they do."""
        reads = [self.patches.read, *([self.patches.read_context] if "context" in self.pictures else [])]
        size = len(self.patches) * self.patches.patch_px**2 * 3 * len(reads)
        if torch.device(device).type == "cuda" and size > share * torch.cuda.mem_get_info(device)[0]:
            return False
        shape = len(self.patches), self.patches.patch_px, self.patches.patch_px, 3
        self.cached = [torch.empty(shape, dtype=torch.uint8, device=device) for _ in reads]
        for first in range(0, len(self.patches), CACHED_AT_ONCE):
            some = np.arange(first, min(first + CACHED_AT_ONCE, len(self.patches)))
            for store, read in zip(self.cached, reads):
                store[first : first + len(some)] = torch.from_numpy(read(some)).to(device)
        return True

    # ------------------------------------------------------------------ on the device

    def make(self, picked: Picked) -> Batch:
        """The batch of what was picked, on the device where that is."""
        pictures = [store[picked.chosen] for store in self.cached] or picked.pictures
        if self.early:
            pictures = [self._cropped(p, picked.corners) for p in pictures]
        image, *context = [self.normalisation.encode(turned(p, picked.turn).permute(0, 3, 1, 2)) for p in pictures]
        make = {"lowres": lambda: low_resolution(image, self.lowres_factor), "context": lambda: context[0]}
        cond_images = [make[name]() for name in self.pictures]
        if self.crop_px and not self.early:
            whole_context = [name == "context" and not self.crop_context for name in self.pictures]
            image, *cond_images = [
                interpolate(p, self.crop_px, mode="area")
                if all_of_it
                else self._cropped(p.movedim(1, 3), picked.corners).movedim(3, 1)
                for p, all_of_it in zip((image, *cond_images), (False, *whole_context))
            ]
        image = image.contiguous()
        lowres_noise = None
        if "lowres" in self.pictures:
            lowres_noise = picked.lowres_noise
            cond_images[0] = add_noise(
                cond_images[0], lowres_noise, normals(picked.key, cond_images[0].shape[1:], LOWRES)
            )
        return Batch(
            image=image,
            noise=normals(picked.key, image.shape[1:], NOISE),
            sigma=self.sample_sigma(picked.normal),
            mpp=picked.mpp,
            dropout_key=picked.key.to(torch.int32),
            cond_image=torch.cat(cond_images, dim=1) if cond_images else None,
            lowres_noise=lowres_noise,
            label=picked.label,
        )

    def _cropped(self, pictures_bhwc: Tensor, corners: list[tuple[int, int]]) -> Tensor:
        """The same random square of each of a sample's pictures; also of the context, which in drawing lies under the tile."""
        side = self.crop_px
        if pictures_bhwc.shape[1] == side:
            return pictures_bhwc
        return torch.stack([one[y : y + side, x : x + side] for one, (y, x) in zip(pictures_bhwc, corners)])

    def encoded(self, pictures_nhwc: np.ndarray) -> Tensor:
        """Pictures as they are in model units: (n, 3, p, p)."""
        return self.normalisation.encode(torch.from_numpy(np.ascontiguousarray(pictures_nhwc.transpose(0, 3, 1, 2))))

    def beside(self, image: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The pictures beside these patches, in the order of their channels, not turned and without noise."""
        make = {
            "lowres": lambda: low_resolution(image, self.lowres_factor),
            "context": lambda: self.encoded(self.patches.read_context(chosen)),
        }
        return [make[name]() for name in self.pictures]


def turned(pictures_bhwc: Tensor, which_b: Tensor) -> Tensor:
    """Each square picture in one of its eight flips and rotations: bit 0 transposes, bits 1 and 2 flip rows and columns."""
    for bit, other in ((1, lambda p: p.transpose(1, 2)), (2, lambda p: p.flip(1)), (4, lambda p: p.flip(2))):
        where = (which_b & bit).bool()[:, None, None, None]
        pictures_bhwc = torch.where(where, other(pictures_bhwc), pictures_bhwc)
    return pictures_bhwc


def normalisation_of(patches: Patches, sigma_data: float | None, at_most: int = 512) -> Normalisation:
    """Measure mean and spread on patches of every mpp alike; without a sigma_data, pictures are in [-1, 1]."""
    if sigma_data is None:
        return Normalisation.unit()
    groups = by_mpp(patches.mpp)
    each = max(1, at_most // len(groups))
    chosen = [index[np.linspace(0, len(index) - 1, min(each, len(index))).astype(int)] for index in groups]
    repeated = np.concatenate([np.resize(index, each) for index in chosen])
    return Normalisation.measure(patches.read(list(repeated)), sigma_data)
