"""What a network costs, counted without running it: FLOP and bytes of an evaluation, from the operations PyTorch would do."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

from histogenesis.models.denoiser import Denoiser
from histogenesis.models.model import build_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.options import ModelOptions

# What cannot be fused into its neighbours: each reads its inputs from memory, and writes its result there.
APART = ("convolution", "mm", "bmm", "addmm", "attention", "group_norm", "layer_norm", "batch_norm", "cat")
FREE = (
    "view",
    "expand",
    "permute",
    "transpose",
    "slice",
    "select",
    "split",
    "unsqueeze",
    "squeeze",
    "detach",
    "t",
    "alias",
)


class Cost(NamedTuple):
    """Of one evaluation of a batch. flop: a multiplication and an addition are two; products: those of matrix products and
    attention, all others are convolutions'; bytes_eager: read and written by every operation as it stands; bytes_fused: by
    those alone that a compiler cannot fuse into others; kernels: operations."""

    flop: float
    products: float
    bytes_eager: float
    bytes_fused: float
    kernels: int
    parameters: int

    def over(self, count: float) -> Cost:
        """The work of each of so many pixels, or pictures."""
        of_work = ("flop", "products", "bytes_eager", "bytes_fused")
        return self._replace(**{name: getattr(self, name) / count for name in of_work})


class _Bytes(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.eager = self.fused = self.kernels = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name.rstrip("_") not in FREE and not name.startswith(("_unsafe_view", "as_strided")):
            moved = sum(t.numel() * t.element_size() for t in tree_iter((args, kwargs, out)) if isinstance(t, Tensor))
            self.eager, self.kernels = self.eager + moved, self.kernels + 1
            self.fused += moved if any(one in name for one in APART) else 0
        return out


def cost(section: Any, px: int, batch: int = 1, learnt_px: int | None = None, half: bool = True) -> Cost:
    """Of one evaluation of `batch` pictures of px x px by a model's network, in bfloat16 (half) or float32.

    section: as for `build_model`; learnt_px: the size of the patches that it learns (default: px); nothing is computed.
    """
    options = ModelOptions.of(section)
    count = len([c for c in options.conditions if c in ("lowres", "context")])
    with torch.device("meta"):
        model = build_model(options, learnt_px or px, Normalisation.unit(), ["one", "two"])
        network = model.network.bfloat16() if half else model.network
        x = torch.zeros(batch, 3 * (1 + count), px, px, dtype=torch.bfloat16 if half else torch.float32)
        arguments: tuple[Tensor | None, ...] = (x,)
        if isinstance(model, Denoiser):
            for part in model.network.float32:
                part.float()
            one, label = torch.zeros(batch), torch.zeros(batch, dtype=torch.int64)
            arguments = (x, one, one, None, one, label)
        return counted(network.eval(), *arguments)


def counted(network: nn.Module, *arguments: Tensor | None) -> Cost:
    """Of one call of a network whose weights and arguments lie on PyTorch's `meta` device: nothing is computed."""
    with torch.no_grad(), FlopCounterMode(display=False) as flop, _Bytes() as moved:
        network(*arguments)
    kinds = flop.get_flop_counts()["Global"]
    return Cost(
        flop=float(flop.get_total_flops()),
        products=float(sum(count for kind, count in kinds.items() if "conv" not in str(kind))),
        bytes_eager=float(moved.eager),
        bytes_fused=float(moved.fused),
        kernels=moved.kernels,
        parameters=sum(w.numel() for w in network.parameters()),
    )
