"""On what a result was computed: as it says itself, or the CPU for a script that never imports PyTorch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py

from histogenesis.provenance.digests import imported_packages
from histogenesis.provenance.records import Job

FACTS = ("device", "torch", "cpu_instructions", "threads", "cudnn_deterministic")  # of device.computed_on

GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # CUDA, ROCm, either under WSL


def has_gpu() -> bool:
    """Whether this machine has a GPU that PyTorch may use; asked without PyTorch, whose import takes seconds."""
    return any(Path(device).exists() for device in GPU_DEVICES)


def processes_of(level: Any) -> int:
    """Processes that draw a level of a recipe together: as many as GPUs, or where this machine has none, as the recipe says."""
    return level.gpus if has_gpu() else max(level.gpus, level.cpu_processes)


def devices_of(jobs: list[Job], project: Path, repository: Path) -> dict[str, dict]:
    """Output -> facts, for one output of each job."""

    @cache
    def may_use_a_gpu(script: str | None) -> bool:
        return script is not None and "torch" in imported_packages(f"workflow/scripts/{script}", repository)

    found = {}
    for job in jobs:
        facts: dict = {}
        if may_use_a_gpu(job.script):
            facts = next((f for name in job.outputs for f in _said(project / name) if f), {})
        found[job.outputs[0]] = facts or {"device": "not recorded" if may_use_a_gpu(job.script) else "cpu"}
    return found


def _said(path: Path) -> Iterator[dict]:
    """What files say of themselves: model.json, HDF5 attributes, the header of safetensors."""
    if path.is_dir():
        for inside in sorted(path.iterdir()):
            yield from _said(inside)
    elif path.suffix == ".json":
        content = json.loads(path.read_text())
        yield _facts(content if isinstance(content, dict) else {})
    elif path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            yield _facts({k: v.item() if hasattr(v, "item") else v for k, v in file.attrs.items() if k in FACTS})
    elif path.suffix == ".safetensors":
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            notes = json.loads(file.read(length)).get("__metadata__", {})
        for text in notes.values():
            if text.startswith("{"):
                yield _facts(json.loads(text))


def _facts(content: dict) -> dict:
    return {key: content[key] for key in FACTS if key in content} if "device" in content else {}
