"""Work and speed: what a part of a run will compute, and how long a card takes for it.

Time is the longer of two: operations over the speed of the arithmetic, bytes over that of the memory. bytes are those that a
compiler cannot fuse away. Speeds of cards are stated, at about a quarter of what their makers promise for tensor cores, 60 %
for plain fp32 and 85 % for memory; this machine's is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf
from typing import NamedTuple

import torch

from histogenesis.core.device import precision_on
from histogenesis.models.costs import Cost, cost
from histogenesis.models.model import build_model
from histogenesis.models.normalisation import Normalisation
from histogenesis.recipe import Model


class Speed(NamedTuple):
    """10^12 a second. bf16: FLOP in bfloat16 (0: the card has none, and a recipe that asks for it is refused). In fp32:
    convolutions (of cards that have it in TF32, which is PyTorch's default for cuDNN, and nothing here changes it) and matrix
    products (plain fp32, its default again). bytes: to and from the card's memory."""

    bf16: float
    convolutions: float
    products: float
    bytes: float


CARDS = {
    "H100": Speed(250, 125, 40, 2.8),
    "A100": Speed(90, 45, 12, 1.3),
    "L40S": Speed(70, 35, 45, 0.7),
    "V100": Speed(0, 9, 9, 0.75),
    "T4": Speed(0, 4.5, 4.5, 0.27),
}


@dataclass
class Part:
    """One line of the estimate. flop: of all its evaluations, in `precision`; products: those of matrix products; bytes:
    between processor and memory. memory_gb: RAM that its job asks for (of a training: what the GPU holds, or a CPU in its
    place); disk_gb: what stays; state_gb: what is there while it runs."""

    what: str
    count: float = 0
    evaluations: float = 0
    memory_gb: float = 0.0
    disk_gb: float = 0.0
    state_gb: float = 0.0
    precision: str = "bf16"
    flop: float = 0.0
    products: float = 0.0
    bytes: float = 0.0

    def add(self, one: Cost, times: float) -> Part:
        """So many evaluations of a network more."""
        self.flop += times * one.flop
        self.products += times * one.products
        self.bytes += times * one.bytes_fused
        return self

    def seconds(self, speed: Speed) -> float:
        """On one such card; infinite where that lacks the precision."""
        if not self.flop:
            return 0.0
        if self.precision == "bf16":
            computing = self.flop / speed.bf16 if speed.bf16 else inf
        else:
            computing = (self.flop - self.products) / speed.convolutions + self.products / speed.products
        return max(computing, self.bytes / speed.bytes) / 1e12


_COSTS: dict[tuple[str, int, str, int], Cost] = {}


def cost_of(model: Model, px: int, precision: str, batch: int = 1) -> Cost:
    """Of one evaluation of a recipe's network for a picture of px x px, one of a batch, which reads the weights together."""
    key = model.model_dump_json(include={"network", "objective", "conditions"}), px // model.latent_px, precision, batch
    if key not in _COSTS:
        _COSTS[key] = cost(model, px // model.latent_px, batch, half=precision == "bf16").over(batch)
    return _COSTS[key]


def measured_speed(
    model: Model, px: int, device: str, precision: str, clock: Callable[[], float] = time.perf_counter
) -> float:
    """10^12 FLOP a second that this machine reaches with a model's own network, by a few evaluations. px: of its input."""
    torch.manual_seed(0)
    network = build_model(model, px, Normalisation.unit(), ["one", "two"]).to(device).eval()
    network.precision = precision_on(device, precision)
    batch, n_images = min(8, model.training.batch), len([c for c in model.conditions if c in ("lowres", "context")])
    x, one = torch.randn(batch, 3, px, px, device=device), torch.ones(batch, device=device)
    images = torch.randn(batch, 3 * n_images, px, px, device=device)
    cond = {"cond_image_bchw": images, "lowres_noise_b": one} if n_images else {}
    runs, begin = ceil(64 / batch), None
    with torch.inference_mode():
        for n in range(runs + 1):
            if n == 1:
                begin = clock()
            network(x, one, one, **cond)
        if device != "cpu":
            torch.cuda.synchronize()
    seconds = clock() - begin
    return cost(model, px).flop * batch * runs / seconds / 1e12
