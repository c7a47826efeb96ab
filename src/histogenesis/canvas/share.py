"""Who draws which part of a canvas: one process all of it, or the processes of a node a band each, one GPU each.

Between two passes they wait for each other; in a pass each reads the planes of the last one and writes its own tiles' cores,
so the pixels are those of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Share:
    """One process of `count`."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Share:
        """As it was started with others (torch.distributed must be initialised), or the only one."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def of(self, rows: Sequence) -> list:
        """This process's part of what lies in rows, from the top: a band."""
        return list(rows[self.rank * len(rows) // self.count : (self.rank + 1) * len(rows) // self.count])

    def wait(self) -> None:
        """Until all have come here."""
        self.any(False)

    def any(self, flag: bool) -> bool:
        """Whether it is true for any of them. All must ask."""
        if self.count == 1:
            return flag
        any_flag = torch.tensor(float(flag), device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(any_flag)
        return bool(any_flag > 0)
