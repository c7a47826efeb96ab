"""Where the state of a canvas fits: on the device, in memory, or in files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from histogenesis.core.errors import BadInput

SHARE = 0.6  # of what is free: the rest is for the network, and for what is read and written meanwhile


def place_of(needed: int, device: str, folder: Path, memory: int | None = None) -> str:
    """`device`, `host` or `files`, the first that has room for `needed` bytes; says which on standard output.

    memory: bytes that the job may use; default: what is free. Raises BadInput where it fits nowhere, with what each place has.
    """
    rooms = {}
    if torch.device(device).type == "cuda":
        rooms["device"] = int(SHARE * torch.cuda.mem_get_info(device)[0])
    rooms["host"] = int(SHARE * (free_memory() if memory is None else memory))
    there = next(path for path in (folder, *folder.parents) if path.exists())
    own = sum(
        path.stat().st_size for path in folder.glob("*") if path.is_file()
    )  # its planes, of a try that was killed early
    rooms["files"] = (shutil.disk_usage(there).free + own) // 2  # planes lie there twice
    place = next((name for name, room in rooms.items() if needed <= room), None)
    words = ", ".join(f"{name} {room / 1e9:.1f} GB" for name, room in rooms.items())
    if place is None:
        raise BadInput(
            f"{folder}: the state of this level needs {needed / 1e9:.1f} GB, and there is room for: {words}. Free some, set"
            " `state: bf16`, or draw a smaller canvas"
        )
    print(f"state: {needed / 1e9:.2f} GB, {place} (room: {words})", flush=True)
    return place


def free_memory() -> int:
    """Bytes of memory that this process may still take: what is available, and not more than its control group's limit."""
    with open("/proc/meminfo") as file:
        lines = dict(line.split(":", 1) for line in file)
    limits_bytes = [int(lines["MemAvailable"].split()[0]) * 1024]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        if os.path.exists(limit):
            text = Path(limit).read_text().strip()
            limits_bytes += [int(text) - int(Path(used).read_text())] if text.isdigit() else []
    return max(0, min(limits_bytes))
