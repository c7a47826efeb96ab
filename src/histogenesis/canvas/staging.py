"""The way of a batch between planes in memory and a GPU, beside the network's work.

What a batch starts from is gathered in pinned memory, by turns in one of two places, and sent without waiting. What it has
become is sent back without waiting, and put into the planes when the network has been given the next batch. Tiles of one round
do not wait for each other, so this changes no pixel. On a CPU nothing is sent, and all is done at once.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Staging:
    """later: whether what comes back is put away later; by itself where the device is a GPU."""

    def __init__(self, device: torch.device):
        self.device, self.on_gpu = device, device.type == "cuda"
        self.later = self.on_gpu
        self.rooms: list[Tensor | None] = [None, None]
        self.sent: list[torch.cuda.Event | None] = [None, None]
        self.turn = 0
        self.coming: list[tuple[Tensor, Tensor, torch.cuda.Event | None]] = []

    def gather(self, views: list[Tensor]) -> Tensor:
        """Views of planes as one batch, float32 on the device, until the next call but one."""
        shape = len(views), *views[0].shape
        self.turn = 1 - self.turn if self.on_gpu else 0
        if (event := self.sent[self.turn]) is not None:
            event.synchronize()
        room = self.rooms[self.turn]
        if room is None or room.shape != shape:
            with torch.inference_mode(False):
                room = self.rooms[self.turn] = torch.empty(shape, pin_memory=self.on_gpu)
        torch.stack(views, out=room)
        there = room.to(self.device, non_blocking=True)
        self.sent[self.turn] = self._event()
        return there

    def put(self, values: Tensor, plane: Tensor) -> None:
        """Values of the device into a view of a plane: now, or when `settle` is asked."""
        if not self.later:
            plane.copy_(values if values.device == plane.device else values.to(plane.dtype))
            return
        back = torch.empty(values.shape, dtype=plane.dtype, pin_memory=self.on_gpu)
        back.copy_(values, non_blocking=True)
        self.coming.append((back, plane, self._event()))

    def settle(self) -> None:
        """All that has been put is there."""
        for back, plane, event in self.coming:
            if event is not None:
                event.synchronize()
            plane.copy_(back)
        self.coming = []

    def _event(self) -> torch.cuda.Event | None:
        if not self.on_gpu:
            return None
        event = torch.cuda.Event()
        event.record()
        return event
