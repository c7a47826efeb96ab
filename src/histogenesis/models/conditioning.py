"""What a network is told beside its picture, as one vector: noise level, mpp, noise of the picture it enlarges, class.

One stanza for all networks: each makes these embeddings and feeds their sum to its blocks. They are computed in float32
whatever the blocks compute in: half precision would round a step of 1000, or an mpp, to three digits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


class Conditioned(nn.Module):
    """A network F(x; c_noise, ...) that is told so much: `tell` in its constructor, `told` in its forward."""

    def tell(
        self, width_in: int, width: int, resolution: bool, seen_noise: bool, classes: int, noise: bool = True
    ) -> None:
        """Make the embeddings, each from `width_in` sinusoids to `width`. noise: false where the network has one of its own."""
        self.width_told = width
        self.noise_embedding = Embedding(width_in, width) if noise else None
        self.resolution_embedding = Embedding(width_in, width) if resolution else None
        self.seen_embedding = Embedding(width_in, width) if seen_noise else None
        self.label_embedding = nn.Embedding(classes + 1, width) if classes else None

    def told(
        self, c_noise_b: Tensor, mpp_b: Tensor | None, seen_noise_b: Tensor | None, label_b: Tensor | None
    ) -> Tensor:
        """The sum of the embeddings: (B, width), float32. What a network is not made for, it does not hear."""
        with in_own_type(c_noise_b):
            parts = [
                embedding(value_b)
                for embedding, value_b in (
                    (self.noise_embedding, c_noise_b),
                    (self.resolution_embedding, mpp_b),
                    (self.seen_embedding, seen_noise_b),
                )
                if embedding is not None
            ]
            if self.label_embedding is not None:
                parts.append(embed_label(self.label_embedding, label_b, len(c_noise_b)))
            return sum(parts) if parts else c_noise_b.new_zeros(len(c_noise_b), self.width_told, dtype=torch.float32)

    @property
    def float32(self) -> list[nn.Module]:
        """The parts that stay in float32 when the weights are cast."""
        named = (self.noise_embedding, self.resolution_embedding, self.seen_embedding, self.label_embedding)
        return [module for module in named if module is not None]


def in_own_type(x: Tensor) -> AbstractContextManager:
    """Within this, operations keep the type of what they are given: no autocast (which the device `meta` does not have)."""
    return nullcontext() if x.device.type == "meta" else torch.autocast(x.device.type, enabled=False)


class Embedding(nn.Module):
    """A number per image -> sinusoids -> two linear layers."""

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.register_buffer("frequencies", 1e-4 ** torch.linspace(0, 1, width_in // 2), persistent=False)
        self.layers = nn.Sequential(linear(width_in, width_out), nn.SiLU(), linear(width_out, width_out))

    def forward(self, value_b: Tensor) -> Tensor:
        angle = value_b.float()[:, None] * self.frequencies
        return self.layers(torch.cat([angle.sin(), angle.cos()], dim=1))


def embed_label(embedding: nn.Embedding, label_b: Tensor | None, n: int) -> Tensor:
    """(n, width); no label at all, or a negative one, is the last row: without a class."""
    none = embedding.num_embeddings - 1
    if label_b is None:
        label_b = torch.full((n,), none, device=embedding.weight.device)
    return embedding(torch.where(label_b < 0, none, label_b))


def linear(width_in: int, width_out: int) -> nn.Linear:
    layer = nn.Linear(width_in, width_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
