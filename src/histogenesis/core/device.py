"""What a result was computed on, for the result's own file: same seed, same pixels, on the same kind of device."""

from __future__ import annotations

import torch

from histogenesis.core.errors import BadInput


def compute_with(threads: int) -> str:
    """Have as many CPU threads and, on a GPU, the same result each time; gives the device: "cuda" where there is one."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision_on(device: str, precision: str) -> str:
    """What a network computes in where the recipe says `precision`: on a CPU without instructions for bf16, fp32.

    There PyTorch does bf16 number by number, some thirty times as slowly as fp32, whose digits hold all that bf16 has. Raises
    BadInput where a GPU does not compute in bf16 itself.
    """
    if precision != "bf16":
        return precision
    if torch.device(device).type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return precision
        name = torch.cuda.get_device_name(device)
        raise BadInput(f"{name} has no bf16: set `precision: fp32`, or take a GPU of 2020 or later (Ampere)")
    if cpu_has_bf16():
        return precision
    print("this CPU has no instructions for bf16: computed in fp32, which is many times faster here", flush=True)
    return "fp32"


def cpu_has_bf16() -> bool:
    """Whether oneDNN computes in bf16 here: AVX-512, AMX, or Arm's instructions for it."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
