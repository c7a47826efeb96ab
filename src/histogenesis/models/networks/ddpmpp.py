"""The DDPM++ U-Net of Song et al. 2021 in the form of Karras et al. 2022, with the resolution embedding of Harb et al.

Written from the papers' tables: positional noise embedding, residual blocks that rescale by sqrt(1/2), average-pool /
nearest resampling, self-attention at chosen feature-map sizes, skips from every encoder block.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, group_norm, interpolate, scaled_dot_product_attention, silu

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs, in_own_type, linear
from histogenesis.models.networks.keys import Network

WHOLE_PIXELS = 1024  # where PyTorch's group normalisation changes its way


class DDPMpp(Conditioned):
    """F(x; c_noise, s) for images of `image_px` (height = width); any multiple of 2^(levels - 1) px may be given later.

    Attention sits where the feature map of a *training* patch has one of the sizes `attention_px`, whatever size is given, or
    at the levels `attention_levels`.
    """

    def __init__(self, keys: Network, inputs: NetworkInputs):
        super().__init__()
        assert inputs.image_px % 2**keys.halvings == 0, "the recipe's model checks this"
        widths, blocks, attends = keys.widths, keys.blocks, keys.attention(inputs.image_px)
        width_embedding = 4 * keys.channels
        self.build_embeddings(keys.channels, width_embedding, inputs)

        layers = iter(range(10_000))  # each block's number: a part of its dropout key

        def block(c_in, c_out, attention=False, resample=None):
            heads = keys.heads if attention else 0
            return Block(c_in, c_out, width_embedding, keys.dropout, next(layers), heads, resample=resample)

        self.first = conv(inputs.image_channels + inputs.cond_channels, keys.channels)
        self.encoder = nn.ModuleList()
        skips, c = [keys.channels], keys.channels
        for level, width in enumerate(widths):
            attention = level in attends
            if level:
                self.encoder.append(block(c, c, resample="down"))
                skips.append(c)
            for _ in range(blocks):
                self.encoder.append(block(c, width, attention))
                c = width
                skips.append(c)

        self.middle = nn.ModuleList([block(c, c, attention=True), block(c, c)])
        self.decoder = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            attention = level in attends
            for n in range(blocks + 1):
                self.decoder.append(block(c + skips.pop(), width, attention and n == blocks))
                c = width
            if level:
                self.decoder.append(block(c, c, resample="up"))
        self.last_norm = norm(c)
        self.last = conv(c, inputs.image_channels, gain=1e-5)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        x = self.first(laid_out(x_bchw))
        embedding = silu(self.embed(cond)).to(x.dtype)
        skips = [x]
        for block in self.encoder:
            x = block(x, embedding, cond.dropout_key_b)
            skips.append(x)
        for block in self.middle:
            x = block(x, embedding, cond.dropout_key_b)
        for block in self.decoder:
            if block.resample != "up":
                x = torch.cat([x, skips.pop()], dim=1)
            x = block(x, embedding, cond.dropout_key_b)
        return self.last(silu(self.last_norm(x)))


class Block(nn.Module):
    """Residual block, resampling before its first convolution, then optional self-attention."""

    def __init__(
        self, c_in: int, c_out: int, width_embedding: int, dropout: float, layer: int, heads: int, resample: str | None
    ):
        super().__init__()
        self.resample, self.dropout, self.layer, self.heads = resample, dropout, layer, heads
        self.norm0, self.conv0 = norm(c_in), conv(c_in, c_out)
        self.affine = linear(width_embedding, c_out)
        self.norm1, self.conv1 = norm(c_out), conv(c_out, c_out, gain=1e-5)
        self.skip = conv(c_in, c_out, kernel=1) if c_in != c_out or resample else nn.Identity()
        if heads:
            self.norm2 = norm(c_out)
            self.qkv = conv(c_out, 3 * c_out, kernel=1, gain=math.sqrt(0.2))
            self.projection = conv(c_out, c_out, kernel=1, gain=1e-5)

    def forward(self, x: Tensor, embedding: Tensor, dropout_key_b: Tensor | None) -> Tensor:
        h = silu(self.norm0(x))
        if self.resample == "down":
            x, h = laid_out(avg_pool2d(x, 2)), laid_out(avg_pool2d(h, 2))
        elif self.resample == "up":
            x, h = doubled(x), doubled(h)
        h = self.conv0(h) + self.affine(embedding)[:, :, None, None]
        h = silu(self.norm1(h))
        if self.training and self.dropout and dropout_key_b is not None:
            h = keyed_dropout(h, self.dropout, dropout_key_b, self.layer)
        x = (self.skip(x) + self.conv1(h)) * math.sqrt(0.5)
        return (x + self.attend(x)) * math.sqrt(0.5) if self.heads else x

    def attend(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        qkv = self.qkv(self.norm2(x)).reshape(b, 3, self.heads, c // self.heads, height * width).transpose(-1, -2)
        attended = scaled_dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2])
        return self.projection(attended.transpose(-1, -2).reshape(b, c, height, width))


def doubled(x: Tensor) -> Tensor:
    """Each pixel as 2 x 2 of its value. Drawing on a CPU, PyTorch's kernel takes several times as long as copies do."""
    if x.device.type != "cpu" or x.requires_grad:
        return interpolate(x, scale_factor=2.0)
    b, c, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).contiguous()[:, :, None, :, None]
    pixels = pixels.expand(b, height, 2, width, 2, c).reshape(b, 2 * height, 2 * width, c)
    return laid_out(pixels.permute(0, 3, 1, 2))


def laid_out(x: Tensor) -> Tensor:
    """In the order of memory that a CPU draws fastest from: in bf16 by whole pixels, where there are `WHOLE_PIXELS` and more.

    Convolutions take a fifth to a third less so, and group normalisation of smaller pictures twenty times as long (PyTorch has
    two ways of it). What learns, and what a GPU draws, stays as it is.
    """
    if x.device.type != "cpu" or x.requires_grad:
        return x
    whole = x.dtype == torch.bfloat16 and x.shape[-2] * x.shape[-1] >= WHOLE_PIXELS
    return x.contiguous(memory_format=torch.channels_last if whole else torch.contiguous_format)


def keyed_dropout(x: Tensor, p: float, key_b: Tensor, layer: int) -> Tensor:
    """Dropout whose mask is a function of (sample's key, layer, channel, y, x): the same in any batch and on any rank.

    `key_b`: one int32 a sample. The hash is MurmurHash3's 32-bit finaliser over the element's index.
    """
    index = torch.arange(x[0].numel(), dtype=torch.int32, device=x.device).reshape(x.shape[1:])
    key = _mix(key_b ^ _signed(0x9E3779B9 * (layer + 1)))
    uniform31 = _mix(index[None] ^ key[:, None, None, None]) & 0x7FFFFFFF
    return torch.where(uniform31 >= int(p * 2**31), x / (1 - p), torch.zeros((), dtype=x.dtype, device=x.device))


def _mix(h: Tensor) -> Tensor:
    h = (h ^ ((h >> 16) & 0xFFFF)) * _signed(0x85EBCA6B)
    h = (h ^ ((h >> 13) & 0x7FFFF)) * _signed(0xC2B2AE35)
    return h ^ ((h >> 16) & 0xFFFF)


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value


class GroupNorm(nn.GroupNorm):
    """Group normalisation in the type of its input: autocast would go to float32 and back, through memory twice as wide.

    Mean and variance are summed in float32 whatever the type, by the kernel itself.
    """

    def forward(self, x: Tensor) -> Tensor:
        with in_own_type(x):
            return group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


def norm(channels: int) -> nn.GroupNorm:
    groups = min(32, max(1, channels // 4))
    while channels % groups:
        groups -= 1
    return GroupNorm(groups, channels, eps=1e-6)


def conv(c_in: int, c_out: int, kernel: int = 3, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    nn.init.zeros_(layer.bias)
    return layer
