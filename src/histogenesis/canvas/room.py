"""What is done where the device has no room for something: the state leaves it, and it is done again, to the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from histogenesis.core.errors import BadInput

T = TypeVar("T")


def in_room(do: Callable[[], T], make_room: Callable[[], bool], refusal: str) -> T:
    """What `do` gives; where the device has no room for it, once more after `make_room`, which says whether there is more now.

    `do` must change nothing before it has all that it asks of the device. Raises BadInput(refusal) where there is no room.
    """
    for again in (False, True):
        try:
            return do()
        except torch.OutOfMemoryError:
            pass  # what it held is let go when this clause ends, and not before
        if again or not make_room():
            break
    raise BadInput(refusal)


def give_back(device: str, what: str) -> None:
    """Memory that PyTorch keeps for later goes back to the device; it is said of `what` that it had no room there."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
    print(f"{what}: out of memory on {device}; the state lies in memory now", flush=True)
