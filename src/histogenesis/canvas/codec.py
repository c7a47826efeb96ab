"""Codecs: what the state of a level is made of, and how it becomes a picture: pixels, or latents of `factor` x `factor` px.

An autoencoder normalises over all that it is given, and may attend to it, so a pixel of a decoded window depends on the
whole window: no margin makes windows decode as the whole canvas would. They overlap by half instead, have the size of tiles,
and fade into each other; what lies near a window's border, where the decoder sees nothing beyond, counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from histogenesis.canvas.canvas import BAND_PX

if TYPE_CHECKING:
    from histogenesis.models.model import Denoiser, Normalisation

Window = tuple[slice, slice]
AT_ONCE_PX = 1 << 18  # in whole rows, as they lie in memory: so many that all passes over them find them in the cache


def enlarged(window: Window, factor: int) -> Window:
    """A window of the state as one of the picture."""
    rows, columns = (slice(factor * part.start, factor * part.stop) for part in window)
    return rows, columns


class PixelCodec:
    """A level that is drawn as it will be seen."""

    channels, factor = 3, 1

    def __init__(self, normalisation: Normalisation):
        self.normalisation = normalisation

    def encode(self, pictures_bchw: Tensor) -> Tensor:
        """Pictures in model units, concatenated or one alone, as the network draws and sees them."""
        return pictures_bchw

    def bands(
        self, read: Callable, wanted: Callable, size: tuple[int, int], side: int, batch: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The picture, band by band: y and uint8 (h, W, 3). read(window): the finished state there, float32 (C, h, w)."""
        height, width = size
        at_once = max(1, AT_ONCE_PX // width)
        for y in range(0, height, BAND_PX):
            band = torch.empty(min(BAND_PX, height - y), width, 3, dtype=torch.uint8)
            for top in range(0, len(band), at_once):
                rows = band[top : top + at_once]
                self.normalisation.to_picture(read((slice(y + top, y + top + len(rows)), slice(0, width))), rows)
            yield y, band.numpy()


class LatentCodec:
    """A level that is drawn in the latent space of a model's autoencoder."""

    def __init__(self, model: Denoiser):
        self.model, self.channels, self.factor = model, model.channels, model.factor

    def encode(self, pictures_bchw: Tensor) -> Tensor:
        return self.model.to_latent(pictures_bchw)

    @torch.inference_mode()
    def bands(
        self, read: Callable, wanted: Callable, size: tuple[int, int], side: int, batch: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """As for pixels, from windows of `side` latents, `batch` at once; only those that are `wanted` are decoded.

        Held is the sum of one row of windows, whose upper part no later window touches.
        """
        (height, width), f = size, self.factor
        rows, columns = (_faded(n, side, f) for n in size)
        weight_y, weight_x = _total(rows, height * f, f), _total(columns, width * f, f)
        total = np.zeros((side * f, width * f, 3), np.float32)
        for y, following in tqdm(pairwise([*rows, height]), "decoding", len(rows), unit="row", mininterval=2):
            asked = [x for x in columns if wanted((slice(y, y + side), slice(x, x + side)))]
            for some in (asked[i : i + batch] for i in range(0, len(asked), batch)):
                z = torch.stack([read((slice(y, y + side), slice(x, x + side))) for x in some])
                generated = self.model.to_uint8(z).cpu().numpy().transpose(0, 2, 3, 1)
                for x, picture in zip(some, generated):
                    total[:, x * f : (x + side) * f] += np.outer(rows[y], columns[x])[..., None] * picture
            done = (following - y) * f
            weight = np.outer(weight_y[y * f : following * f], weight_x)[..., None]
            yield y * f, np.floor(total[:done] / weight + np.float32(0.5)).astype(np.uint8)
            total[: len(total) - done] = total[done:]
            total[len(total) - done :] = 0


def codec_of(model: Denoiser) -> PixelCodec | LatentCodec:
    return LatentCodec(model) if model.factor > 1 else PixelCodec(model.normalisation)


def _faded(length: int, side: int, factor: int) -> dict[int, np.ndarray]:
    """Where windows begin along one side of the state, and how much each px of theirs counts, float32.

    Nothing in the outer eighth, then more with every px to the middle; up to the border where that is the canvas's.
    """
    window_weights = {}
    for start in dict.fromkeys([*range(0, length - side, max(1, side // 2)), length - side]):
        at = np.arange(side * factor, dtype=np.float32) + np.float32(0.5)
        before = at if start else np.full_like(at, np.inf)
        after = at[::-1] if start + side < length else np.full_like(at, np.inf)
        inside = np.minimum(np.minimum(before, after), np.float32(side * factor / 2))
        window_weights[start] = np.maximum(inside - np.float32(side // 8 * factor), 0)
    return window_weights


def _total(windows: dict[int, np.ndarray], length_px: int, factor: int) -> np.ndarray:
    """What all windows along one side count together, at each px."""
    total = np.zeros(length_px, np.float32)
    for start, weight in windows.items():
        total[start * factor : start * factor + len(weight)] += weight
    return total
