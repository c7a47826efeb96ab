"""The plain transformer on pixels of Li and He 2025 (JiT, "Back to basics: let denoising generative models denoise").

Its weights are those of the published code one for one, and its outputs with them (docs/measurements/papers.md). A square of
pixels is a token, through a linear bottleneck that is narrower than its pixels. Blocks are self-attention and SwiGLU, with
RMSNorm, normalised queries and keys, and rotary places in two directions; the noise level, and all else that it is told,
shifts, scales and gates each block (adaLN-Zero of Peebles and Xie 2023). Two parts of theirs are left out: fixed sinusoids of a
token's absolute place, since a tile has none, and may be larger than what was learnt; and the class as further tokens in
context, since it is told as every condition is.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention, silu

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs, in_own_type, linear
from histogenesis.models.networks.ddpmpp import keyed_dropout
from histogenesis.models.networks.keys import JiT as Keys

FREQUENCIES = 256  # sinusoids of the noise level, as Peebles and Xie have them
BASE = 10_000.0  # of the rotary frequencies (Su et al. 2021)


class JiT(Conditioned):
    """F(x; c_noise, ...) for pictures (B, C + seen, H, W) whose sides are multiples of `token_px`, in whatever proportion."""

    frequencies: Tensor

    def __init__(self, keys: Keys, inputs: NetworkInputs):
        super().__init__()
        width, px = keys.channels, keys.token_px
        self.token_px, self.image_channels = px, inputs.image_channels
        self.build_embeddings(FREQUENCIES, width, inputs)
        self.first = nn.Conv2d(inputs.image_channels + inputs.cond_channels, keys.bottleneck, px, stride=px, bias=False)
        nn.init.xavier_uniform_(self.first.weight.view(keys.bottleneck, -1))  # it is a linear layer of a token's pixels
        self.second = linear(keys.bottleneck, width)
        quarter = keys.blocks // 4
        self.blocks = nn.ModuleList(
            Block(keys, n, keys.dropout if quarter <= n < 3 * quarter else 0.0) for n in range(keys.blocks)
        )
        self.last_norm = RMSNorm(width)
        self.last_modulation = zero(linear(width, 2 * width))
        self.last = zero(linear(width, px * px * inputs.image_channels))
        per_axis = keys.head_channels // 2
        self.register_buffer("frequencies", BASE ** (-torch.arange(0, per_axis, 2) / per_axis), persistent=False)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        x = self.first(x_bchw)
        rows, columns = x.shape[-2:]
        x = self.second(x.flatten(2).transpose(1, 2))
        rotation = turns(rows, columns, self.frequencies, x.dtype)
        embedding = silu(self.embed(cond)).to(x.dtype)
        for block in self.blocks:
            x = block(x, embedding, rotation, cond.dropout_key_b)
        shift, scale = self.last_modulation(embedding)[:, None].chunk(2, dim=-1)
        x = self.last(self.last_norm(x) * (1 + scale) + shift)
        x = x.unflatten(1, (rows, columns)).unflatten(-1, (self.token_px, self.token_px, self.image_channels))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


class Block(nn.Module):
    """Self-attention and SwiGLU on tokens (B, N, C), each shifted, scaled and gated by what is told.

    It does nothing at first: all gates are zero.
    """

    def __init__(self, keys: Keys, layer: int, dropout: float):
        super().__init__()
        width = keys.channels
        hidden = int(keys.hidden * width * 2 / 3)
        self.heads, self.layer, self.dropout = keys.heads, layer, dropout
        self.modulation = zero(linear(width, 6 * width))
        self.norm0, self.norm1 = RMSNorm(width), RMSNorm(width)
        self.q_norm, self.k_norm = RMSNorm(keys.head_channels), RMSNorm(keys.head_channels)
        self.qkv, self.projection = linear(width, 3 * width), linear(width, width)
        self.gate_up, self.down = linear(width, 2 * hidden), linear(hidden, width)

    def forward(
        self, x: Tensor, embedding: Tensor, rotation: tuple[Tensor, Tensor], dropout_key_b: Tensor | None
    ) -> Tensor:
        shift0, scale0, gate0, shift1, scale1, gate1 = self.modulation(embedding)[:, None].chunk(6, dim=-1)
        attended = self.projection(self.attend(self.norm0(x) * (1 + scale0) + shift0, rotation))
        x = x + gate0 * self.drop(attended, dropout_key_b, 2 * self.layer)
        gate, up = self.gate_up(self.norm1(x) * (1 + scale1) + shift1).chunk(2, dim=-1)
        return x + gate1 * self.down(self.drop(silu(gate) * up, dropout_key_b, 2 * self.layer + 1))

    def attend(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, C of a head)
        q, k = (rotate(norm(part), *rotation) for norm, part in ((self.q_norm, qkv[0]), (self.k_norm, qkv[1])))
        return scaled_dot_product_attention(q, k, qkv[2]).transpose(1, 2).flatten(2)

    def drop(self, x: Tensor, dropout_key_b: Tensor | None, layer: int) -> Tensor:
        if not (self.training and self.dropout and dropout_key_b is not None):
            return x
        return keyed_dropout(x[:, None], self.dropout, dropout_key_b, layer)[:, 0]


def turns(rows: int, columns: int, frequencies: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angle by which each pair of a head's channels is turned: (rows * columns, C / 2).

    The first half of the pairs turns with a token's row, the other with its column.
    """
    y, x = (torch.arange(n, device=frequencies.device)[:, None] * frequencies for n in (rows, columns))
    angles = torch.cat([y[:, None].expand(-1, columns, -1), x[None].expand(rows, -1, -1)], dim=-1).flatten(0, 1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring pairs of channels (..., N, C), so that the product of two tokens depends on how far apart they are and
    not on where (Su et al. 2021, eq. 34)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square normalisation (Zhang and Sennrich 2019) in the type of its input; the mean is summed in float32."""

    def __init__(self, width: int):
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        with in_own_type(x):
            return rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    return layer
