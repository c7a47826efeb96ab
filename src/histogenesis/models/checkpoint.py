"""Training state on disk: one safetensors file with checksums, and the one before it. No pickle."""

import json
import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from histogenesis.core.errors import BadInput
from histogenesis.core.files import move, written


def adam(weights: Mapping[str, Tensor], lr: float, betas: Sequence[float]) -> torch.optim.Adam:
    """Adam whose state is there before its first step, so that a checkpoint can fill it."""
    beta1, beta2 = betas
    optimizer = torch.optim.Adam(weights.values(), lr=lr, betas=(beta1, beta2), fused=True)
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


def save_checkpoint(path: Path, step: int, digest: str, groups: dict[str, dict[str, Tensor]], metadata: dict) -> None:
    """Write tensors as `group/name`, with the step, the digest of what they depend on, and what proves them whole.

    The checkpoint that was there stays beside it, as {path}.before: what is damaged is not the only one.
    """
    tensors = {
        f"{group}/{name}": t.detach().cpu().contiguous() for group, named in groups.items() for name, t in named.items()
    }
    about = {"step": str(step), "digest": digest, "facts": json.dumps(metadata)}
    about["checksums"] = json.dumps({name: checksum(tensor) for name, tensor in sorted(tensors.items())})
    with written(path) as part:
        save_file(tensors, part, metadata=about | {"proof": proof_of(about)})
        if path.exists():
            move(path, before(path))


def load_checkpoint(path: Path, digest: str, groups: dict[str, dict[str, Tensor]]) -> tuple[int, dict] | None:
    """Fill the tensors of `groups` in place from the last whole checkpoint; returns (step, facts).

    None where there is none; one that is damaged, or of another model, is passed over, and that is said. Raises BadInput where
    the state cannot be read.
    """
    passed_over = False
    for file_path in (path, before(path)):
        try:
            if file_path.exists():
                state = read_whole(file_path, digest, groups)
                if passed_over:
                    print(
                        f"{file_path}: the checkpoint before it is whole; the training goes on from there", flush=True
                    )
                return state
        except PermissionError:
            raise BadInput(f"{file_path}: the training state cannot be read; check its permissions") from None
        except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
            print(f"{file_path}: damaged checkpoint ({error})", flush=True)
            file_path.unlink(missing_ok=True)  # or it would take the place of the one before with the next one
            passed_over = True
    if passed_over:
        print(f"{path.parent}: no checkpoint is whole; the training begins anew", flush=True)
    return None


def read_whole(path: Path, digest: str, groups: dict[str, dict[str, Tensor]]) -> tuple[int, dict]:
    """One checkpoint, all of it proven before anything is filled. Raises ValueError, or what its library raises."""
    with safe_open(path, framework="pt") as file:
        about, names = dict(file.metadata()), set(file.keys())
        if about.pop("proof") != proof_of(about):
            raise ValueError("its header is not the one that was written")
        if about["digest"] != digest or names != {
            f"{group}/{name}" for group, named in groups.items() for name in named
        }:
            raise ValueError("it is of another model or other patches")
        for name, stated in json.loads(about["checksums"]).items():
            if checksum(file.get_tensor(name)) != stated:
                raise ValueError(f"{name} differs from its checksum")
        with torch.no_grad():
            for group, named in groups.items():
                for name, tensor in named.items():
                    tensor.copy_(file.get_tensor(f"{group}/{name}"))
    return int(about["step"]), json.loads(about["facts"])


def before(path: Path) -> Path:
    return path.with_name(path.name + ".before")


def checksum(tensor: Tensor) -> int:
    """Of a tensor's bytes and shape."""
    octets = tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""
    return zlib.crc32(octets, zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode()))


def proof_of(about: dict[str, str]) -> str:
    return sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
