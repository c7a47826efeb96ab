"""The conditioning of a network, beside its picture, as one vector: noise level, mpp, noise of the picture it enlarges, class.

One stanza for all networks: each makes these embeddings and feeds their sum to its blocks. They are computed in float32
whatever the blocks compute in: half precision would round a step of 1000, or an mpp, to three digits.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkInputs:
    """What a network is made for, which its model's conditions decide.

    image_px: height and width of what it learns from; cond_channels: of pictures beside its own; resolution: it is told its
    mpp; lowres_noise: it is told how much noise the smaller picture beside its own has; classes: how many it may be told;
    label_width: numbers in the given embedding of each class; 0: it learns one of its own.
    """

    image_px: int = 0
    image_channels: int = 3
    cond_channels: int = 0
    resolution: bool = False
    lowres_noise: bool = False
    classes: int = 0
    label_width: int = 0


class Conditioning(NamedTuple):
    """What a network is conditioned on in one evaluation, a row a picture; None: nothing of that kind."""

    c_noise_b: Tensor
    mpp_b: Tensor | None
    dropout_key_b: Tensor | None
    lowres_noise_b: Tensor | None  # how much noise the low-resolution picture beside x has
    label_b: Tensor | None  # rows of the classes; negative: without a class


class Conditioned(nn.Module):
    """A network F(x; c_noise, ...): `build_embeddings` in its constructor; `predict` computes, with `embed` or its parts."""

    embedding_width: int

    def build_embeddings(
        self, width_in: int, width: int, inputs: NetworkInputs, noise: bool = True, lowres_noise: bool = True
    ) -> None:
        """Make the embeddings, each from `width_in` sinusoids to `width`. noise, lowres_noise: false where the network has
        one of its own."""
        self.embedding_width = width
        self.noise_embedding = Embedding(width_in, width) if noise else None
        self.resolution_embedding = Embedding(width_in, width) if inputs.resolution else None
        self.seen_embedding = Embedding(width_in, width) if inputs.lowres_noise and lowres_noise else None
        self.label_embedding: LabelEmbedding | GivenLabelEmbedding | None = None
        if inputs.classes:
            given = inputs.label_width
            self.label_embedding = (
                GivenLabelEmbedding(inputs.classes, given, width) if given else LabelEmbedding(inputs.classes, width)
            )

    def forward(
        self,
        x_bchw: Tensor,
        c_noise_b: Tensor,
        mpp_b: Tensor | None = None,
        dropout_key_b: Tensor | None = None,
        lowres_noise_b: Tensor | None = None,
        label_b: Tensor | None = None,
    ) -> Tensor:
        """(B, image + seen channels, H, W) -> (B, image channels, H, W)."""
        return self.predict(x_bchw, Conditioning(c_noise_b, mpp_b, dropout_key_b, lowres_noise_b, label_b))

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        raise NotImplementedError

    def embeddings(self, cond: Conditioning) -> list[Tensor]:
        """One for each thing that the network is made for: (B, width), float32. What it is not made for, it does not hear."""
        with in_own_type(cond.c_noise_b):
            embeddings = [
                embedding(value_b)
                for embedding, value_b in (
                    (self.noise_embedding, cond.c_noise_b),
                    (self.resolution_embedding, cond.mpp_b),
                    (self.seen_embedding, cond.lowres_noise_b),
                )
                if embedding is not None
            ]
            if self.label_embedding is not None:
                label_b = cond.label_b
                if label_b is None:
                    label_b = torch.full((len(cond.c_noise_b),), -1, device=cond.c_noise_b.device)
                embeddings.append(self.label_embedding(label_b))
            return embeddings

    def embed(self, cond: Conditioning) -> Tensor:
        """The sum of the embeddings: (B, width), float32."""
        total, c_noise_b = sum(self.embeddings(cond)), cond.c_noise_b
        if isinstance(total, Tensor):
            return total
        return c_noise_b.new_zeros(len(c_noise_b), self.embedding_width, dtype=torch.float32)

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

    frequencies: Tensor

    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.register_buffer("frequencies", 1e-4 ** torch.linspace(0, 1, width_in // 2), persistent=False)
        self.layers = nn.Sequential(linear(width_in, width_out), nn.SiLU(), linear(width_out, width_out))

    def forward(self, value_b: Tensor) -> Tensor:
        angle = value_b.float()[:, None] * self.frequencies
        return self.layers(torch.cat([angle.sin(), angle.cos()], dim=1))


class LabelEmbedding(nn.Embedding):
    """A learned vector for each class, and one for no class, which a negative row stands for."""

    def __init__(self, classes: int, width: int):
        super().__init__(classes + 1, width)

    def forward(self, label_b: Tensor) -> Tensor:
        """Rows of the classes -> (B, width)."""
        return super().forward(torch.where(label_b < 0, self.num_embeddings - 1, label_b))


class GivenLabelEmbedding(nn.Module):
    """A given vector for each class, through a layer that is learned; and a learned one for no class, a negative row.

    The vectors are what a language model says of the class's name, a patient's gene expression, an encoder's mean. They are
    saved with the weights, and never learned.
    """

    vectors: Tensor

    def __init__(self, classes: int, width_in: int, width_out: int):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(classes, width_in))
        self.layer = linear(width_in, width_out)
        self.none = nn.Parameter(torch.randn(width_out))

    def give(self, vectors: Tensor) -> None:
        """The classes' vectors (classes, width_in), in the order of their rows; scaled to a root mean square of 1 over all."""
        self.vectors.copy_(vectors / vectors.square().mean().sqrt())

    def forward(self, label_b: Tensor) -> Tensor:
        """Rows of the classes -> (B, width_out)."""
        told = self.layer(self.vectors[label_b.clamp(min=0)])
        return torch.where((label_b < 0)[:, None], self.none, told)


def linear(width_in: int, width_out: int) -> nn.Linear:
    layer = nn.Linear(width_in, width_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
