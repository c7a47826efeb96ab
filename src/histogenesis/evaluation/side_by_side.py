"""Measures that do not wait for one another, side by side in processes of one thread each."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

_PARTS: list[Callable[[], Any]] = []  # what forked processes find, since functions with pictures in them are not sent


def side_by_side(parts: Mapping[str, Callable[[], Any]], processes: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """What each part returns, by its name: the same with one process as with several. An error of a part ends all.

    processes: at most so many at once; one, without a copy, where copies of this process are not safe (a GPU in use, threads
    of PyTorch's own, another system than Linux). tell: called with a part's name when it
    begins; of several processes, when it is the next that is waited for.
    """
    safe = sys.platform == "linux" and torch.get_num_threads() == 1 and not torch.cuda.is_initialized()
    found = {}
    if processes < 2 or not safe:
        for name, part in parts.items():
            tell(name)
            found[name] = part()
        return found
    _PARTS[:] = parts.values()
    with multiprocessing.get_context("fork").Pool(min(processes, len(parts))) as pool:
        waiting = {name: pool.apply_async(_measured, (i,)) for i, name in enumerate(parts)}
        for name, result in waiting.items():
            tell(name)
            found[name] = result.get()
    return found


def _measured(index: int) -> Any:
    return _PARTS[index]()
