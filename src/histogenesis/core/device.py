"""What a result was computed on, for the result's own file: same seed, same pixels, on the same kind of device."""

from __future__ import annotations

import torch

from histogenesis.core.errors import BadInput


def compute_with(threads: int) -> str:
    """Have as many CPU threads and, on a GPU, the same result each time; gives the device: "cuda" where there is one."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_precision(device: str, precision: str) -> None:
    """Raise BadInput where a GPU does not compute in bf16 itself."""
    if torch.device(device).type == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported(False):
        name = torch.cuda.get_device_name(device)
        raise BadInput(f"{name} has no bf16: set `precision: fp32`, or take a GPU of 2020 or later (Ampere)")


def computed_on(device: str | torch.device) -> dict[str, str | int | bool]:
    """The GPU's model or "cpu", and what else rounds: PyTorch's version, CPU instructions and threads, cuDNN's choice."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "cpu",
        "torch": str(torch.__version__),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
    }
