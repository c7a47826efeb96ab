"""Which pixels of a canvas are drawn, looked up on the device: no mask is sent there while a level is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from histogenesis.canvas.tiling import ForegroundMask

Window = tuple[slice, slice]


class Foreground:
    """The tissue plan, at its own scale, on a device; its rows and columns of each row and column of the canvas."""

    def __init__(self, mask: ForegroundMask, device: str | torch.device):
        self.factor = mask.factor
        parts = (mask.plan, mask.rows, mask.columns)
        self.plan, self.rows, self.columns = (torch.tensor(part, device=device) for part in parts)

    def windows(self, windows: Sequence[Window]) -> Tensor:
        """Of windows of one size: bool (B, h, w), as the mask has them."""
        f, found = self.factor, []
        for window in windows:
            rows, columns = (
                axis[f * part.start : f * part.stop] for axis, part in zip((self.rows, self.columns), window)
            )
            found.append(self.plan.index_select(0, rows).index_select(1, columns))
        places = torch.stack(found)
        return places if f == 1 else places.unflatten(2, (-1, f)).unflatten(1, (-1, f)).any(4).any(2)
