"""Whole slides held on a device, and training patches cut from them there, anywhere: no store, no reader, no patch twice.

Slides are few and small enough to fit as uint8. Each is kept at every resolution, half by half (area averages), all in one run
of bytes, so that a batch of patches of any slides and resolutions is one look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from histogenesis.core.noise import generator
from histogenesis.models.batch import Batch
from histogenesis.models.batches import Picked, turned
from histogenesis.models.conditions import add_noise, low_resolution
from histogenesis.models.keyed import LOWRES, NOISE, normals
from histogenesis.models.normalisation import Normalisation

COLOURED = 18  # a pixel is tissue where its largest and smallest colour differ by more: glass is grey
PLACES = 4  # candidates along each side of a patch


class SlideBatches:
    """The batches of a training (as models.batches.Batches), of patches cut from slides at random where there is tissue.

    slides: uint8 (H, W, 3) each, with their mpps; a resolution of n halvings has 2^n of that. A sample's number of halvings is
    drawn first, each alike, then its place among all slides' places. With a lowres_factor each is shown the level above, which
    is made of a window a little wider than the patch, at any place in its grid, and noised uniformly from 0 to the limit.
    """

    def __init__(
        self,
        slides: Sequence[np.ndarray],
        mpps: Sequence[float],
        halvings: Sequence[int],
        px: int,
        sample_sigma: Callable[[Tensor], Tensor],
        seed: int,
        device: str = "cpu",
        min_tissue: float = 0.1,
        normalisation: Normalisation | None = None,
        lowres_factor: int | None = None,
        lowres_noise_limit: float = 1.0,
    ):
        self.px, self.sample_sigma, self.seed, self.device = px, sample_sigma, seed, device
        self.lowres_factor, self.lowres_noise_limit = lowres_factor, lowres_noise_limit
        self.window_px = px + 2 * (lowres_factor or 0)
        runs, first = [], 0
        places: dict[int, list[tuple[float, ...]]] = {n: [] for n in halvings}
        for slide, mpp in zip(slides, mpps):
            level = torch.from_numpy(slide).to(device)
            for n in range(max(halvings) + 1):
                if n:
                    level = halved(level)
                if n in places and min(level.shape[:2]) >= self.window_px:
                    corners = tissue_places(level, px, min_tissue)
                    rows = [[first, level.shape[0], level.shape[1], *place] for place in corners.tolist()]
                    places[n] += [(*row, mpp * 2**n) for row in rows]
                    runs.append(level.reshape(-1))
                    first += level.numel()
        self.pixels = torch.cat(runs)
        self.places = {n: np.array(rows) for n, rows in places.items() if rows}
        self.normalisation = normalisation or self._measured()

    def _measured(self) -> Normalisation:
        step = max(1, len(self.pixels) // 3 // 4_000_000)
        return Normalisation.measure(self.pixels.reshape(-1, 3)[::step].cpu().numpy(), 0.5)

    def cache_on(self, device: str) -> bool:
        return True

    def read(self, step: int, places: range, device: str | None = None) -> Batch:
        return self.make(self.pick(step, places).to(device or self.device))

    def pick(self, step: int, places: range) -> Picked:
        """Choose these samples: no pixel is touched."""
        streams = [generator("training", self.seed, step, place) for place in places]
        kinds, rows, wider = sorted(self.places), [], self.window_px - self.px
        for stream in streams:
            of_level = self.places[kinds[stream.integers(len(kinds))]]
            first, height, width, y, x, mpp = of_level[stream.integers(len(of_level))]
            jitter = stream.integers(-(self.px // PLACES // 2), self.px // PLACES // 2 + 1, size=2)
            y, x = (
                int(np.clip(v + d - wider // 2, 0, n - self.window_px))
                for v, d, n in zip((y, x), jitter, (height, width))
            )
            rows.append([int(first) + 3 * (y * int(width) + x), int(width), mpp])
        corner, width, mpp = zip(*rows)
        turn = torch.tensor([int(s.integers(8)) for s in streams])
        normal = torch.tensor([s.standard_normal() for s in streams], dtype=torch.float32)
        key = torch.tensor([int(s.integers(-(2**63), 2**63)) for s in streams])
        inner = torch.tensor(np.array([s.integers(wider + 1, size=2) for s in streams]))
        lowres_noise = torch.tensor([s.random() for s in streams], dtype=torch.float32)
        return Picked(
            pictures=[torch.tensor(width), inner],
            chosen=torch.tensor(corner),
            corners=[],
            turn=turn,
            normal=normal,
            key=key,
            mpp=torch.tensor(mpp, dtype=torch.float32),
            lowres_noise=self.lowres_noise_limit * lowres_noise,
            label=None,
        )

    def make(self, picked: Picked) -> Batch:
        width, inner = picked.pictures
        along = torch.arange(self.window_px, device=self.pixels.device)
        row = width[:, None, None, None] * along[None, :, None, None]
        colour = torch.arange(3, device=self.pixels.device)
        index = picked.chosen[:, None, None, None] + 3 * (row + along[None, None, :, None]) + colour
        image = self.normalisation.encode(turned(self.pixels[index], picked.turn).permute(0, 3, 1, 2))
        shown, noise_level = None, None
        if self.lowres_factor:
            shown, noise_level = self._cropped(low_resolution(image, self.lowres_factor), inner), picked.lowres_noise
            shown = add_noise(shown, noise_level, normals(picked.key, shown.shape[1:], LOWRES))
        image = self._cropped(image, inner).contiguous()
        return Batch(
            image=image,
            noise=normals(picked.key, image.shape[1:], NOISE),
            sigma=self.sample_sigma(picked.normal),
            mpp=picked.mpp,
            dropout_key=picked.key.to(torch.int32),
            cond_image=shown,
            lowres_noise=noise_level,
        )

    def _cropped(self, pictures_bchw: Tensor, corners_b2: Tensor) -> Tensor:
        """Of each window the patch in it, from its corner (y, x)."""
        along = torch.arange(self.px, device=pictures_bchw.device)
        y, x = ((corners_b2[:, axis, None] + along) for axis in (0, 1))
        samples = torch.arange(len(pictures_bchw), device=pictures_bchw.device)[:, None, None]
        return pictures_bchw.permute(0, 2, 3, 1)[samples, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)


def halved(picture_hwc: Tensor) -> Tensor:
    """The area average over 2 x 2 px, rounded; odd rows and columns at the end are left out."""
    height, width = (n // 2 * 2 for n in picture_hwc.shape[:2])
    out = torch.empty((height // 2, width // 2, 3), dtype=torch.uint8, device=picture_hwc.device)
    for top in range(0, height, 2048):  # a band at a time: the sum is wider than the pixels
        band = picture_hwc[top : min(top + 2048, height), :width].to(torch.int16)
        band = band[::2] + band[1::2]
        out[top // 2 : top // 2 + len(band)] = ((band[:, ::2] + band[:, 1::2] + 2) // 4).to(torch.uint8)
    return out


def tissue_places(picture_hwc: Tensor, px: int, min_tissue: float) -> Tensor:
    """Top left corners (y, x) of patches with that share of tissue, every px / PLACES: int64 (n, 2)."""
    step = max(1, px // PLACES)
    height, width = (n // step * step for n in picture_hwc.shape[:2])
    cells = []
    for top in range(0, height, step * 64):
        band = picture_hwc[top : min(top + step * 64, height), :width]
        coloured = (band.amax(dim=-1) - band.amin(dim=-1) > COLOURED).float()
        cells.append(avg_pool2d(coloured[None, None], step)[0, 0])
    share = avg_pool2d(torch.cat(cells)[None, None], PLACES if px >= PLACES else 1, stride=1)[0, 0]
    return step * (share >= min_tissue).nonzero().cpu()
