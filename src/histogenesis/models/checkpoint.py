"""Training state on disk: one safetensors file, written to a temporary name and renamed. No pickle."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from histogenesis.core.errors import BadInput
from histogenesis.core.files import written


def adam(weights: dict[str, Tensor], lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
    """Adam whose state is there before its first step, so that a checkpoint can fill it."""
    optimizer = torch.optim.Adam(weights.values(), lr=lr, betas=betas, fused=True)
    for w in weights.values():
        optimizer.state[w] = {
            "step": torch.zeros((), device=w.device),
            "exp_avg": torch.zeros_like(w),
            "exp_avg_sq": torch.zeros_like(w),
        }
    return optimizer


def fill_steps(optimizer: torch.optim.Adam, steps: int) -> None:
    """After how many of its steps a checkpoint was written."""
    for m in optimizer.state.values():
        m["step"].fill_(steps)


def save_checkpoint(path: Path, step: int, digest: str, groups: dict[str, dict[str, Tensor]], facts: dict) -> None:
    """Write tensors as `group/name`, with the step and the digest of what they depend on."""
    tensors = {
        f"{group}/{name}": t.detach().contiguous() for group, named in groups.items() for name, t in named.items()
    }
    with written(path) as part:
        save_file(tensors, part, metadata={"step": str(step), "digest": digest, "facts": json.dumps(facts)})


def load_checkpoint(path: Path, digest: str, groups: dict[str, dict[str, Tensor]]) -> tuple[int, dict] | None:
    """Fill the tensors of `groups` in place; returns (step, facts), or None where there is no checkpoint.

    Raises BadInput when the file is broken, or is the state of another model.
    """
    remedy = f"delete {path.parent} to train from the start"
    try:
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata(), set(file.keys())
            wanted = {f"{group}/{name}" for group, named in groups.items() for name in named}
            if metadata["digest"] != digest or names != wanted:
                raise BadInput(f"{path}: the checkpoint of another model or other patches; {remedy}")
            with torch.no_grad():
                for group, named in groups.items():
                    for name, tensor in named.items():
                        tensor.copy_(file.get_tensor(f"{group}/{name}"))
    except PermissionError:
        raise BadInput(f"{path}: the training state cannot be read; check its permissions, or {remedy}") from None
    except (SafetensorError, KeyError, RuntimeError, TypeError) as error:
        raise BadInput(f"{path}: broken checkpoint ({error}); {remedy}") from None
    return int(metadata["step"]), json.loads(metadata["facts"])
