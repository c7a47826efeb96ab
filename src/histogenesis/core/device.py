"""What a result was computed on, for the result's own file: same seed, same pixels, on the same kind of device."""

from __future__ import annotations

import torch


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
