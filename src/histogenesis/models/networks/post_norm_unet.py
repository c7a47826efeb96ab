"""The U-Net of Ho et al. 2020 as the published code of Diffusion4Path has it.

Blocks convolve, normalise and then activate; attention is normalised after it is added; one skip joins each level; it halves by
a strided convolution, also after its last level, and doubles by linear interpolation and a convolution.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention, silu

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs, in_own_type
from histogenesis.models.networks.ddpmpp import conv, norm
from histogenesis.models.networks.keys import PostNormUNet as Keys


class PostNormUNet(Conditioned):
    """F(x; c_noise) for pictures whose sides are multiples of 2^levels px."""

    frequencies: Tensor

    def __init__(self, keys: Keys, inputs: NetworkInputs):
        super().__init__()
        first, widths = keys.channels, keys.widths
        width_embedding = 4 * first
        self.build_embeddings(first, width_embedding, inputs, noise=False)
        self.register_buffer("frequencies", 1e4 ** (-2 * torch.arange(first // 2) / first), persistent=False)
        self.time = nn.ModuleList([nn.Linear(first, width_embedding), nn.Linear(width_embedding, width_embedding)])

        def stage(c_in, c_out, heads):
            blocks = [Block(c_in if n == 0 else c_out, c_out, width_embedding, heads) for n in range(keys.blocks)]
            return nn.ModuleList(blocks)

        heads = [keys.heads if level in keys.attention_levels else 0 for level in range(len(widths))]
        below = [first, *widths[:-1]]
        self.first = nn.Conv2d(inputs.image_channels + inputs.cond_channels, first, 3, padding=1)
        self.down = nn.ModuleList(stage(a, b, h) for a, b, h in zip(below, widths, heads))
        self.shrink = nn.ModuleList(nn.Conv2d(b, b, 3, stride=2, padding=1) for b in widths)
        self.middle = stage(widths[-1], widths[-1], keys.heads)
        above = [widths[-1], *widths[:0:-1]]
        self.up = nn.ModuleList(stage(a + b, b, h) for a, b, h in zip(above, widths[::-1], heads[::-1]))
        self.enlarge = nn.ModuleList(conv(b, b) for b in widths[::-1])
        self.last_norm = norm(widths[0] + first)
        self.last = nn.Conv2d(widths[0] + first, inputs.image_channels, 3, padding=1)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        with in_own_type(cond.c_noise_b):
            angle = cond.c_noise_b.float()[:, None] * self.frequencies
            time = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
            embedding = self.time[1](gelu(self.time[0](time))) + self.embed(cond)
        embedding = silu(embedding).to(x_bchw.dtype)
        first = x = self.first(x_bchw)
        skips = []
        for blocks, shrink in zip(self.down, self.shrink):
            for block in blocks.children():
                x = block(x, embedding)
            x = shrink(x)
            skips.append(x)
        for block in self.middle:
            x = block(x, embedding)
        for blocks, enlarge in zip(self.up, self.enlarge):
            x = torch.cat([x, skips.pop()], dim=1)
            for block in blocks.children():
                x = block(x, embedding)
            x = enlarge(interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True))
        return self.last(silu(self.last_norm(torch.cat([x, first], dim=1))))

    @property
    def float32(self) -> list[nn.Module]:
        return [*super().float32, self.time]


class Block(nn.Module):
    """Two convolutions, each normalised and activated after it, the embedding between them; then optional self-attention."""

    def __init__(self, c_in: int, c_out: int, width_embedding: int, heads: int):
        super().__init__()
        self.conv0, self.norm0 = nn.Conv2d(c_in, c_out, 3, padding=1), norm(c_out)
        self.conv1, self.norm1 = nn.Conv2d(c_out, c_out, 3, padding=1), norm(c_out)
        self.affine = nn.Linear(width_embedding, c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        self.heads = heads
        if heads:
            self.qkv, self.projection = nn.Conv2d(c_out, 3 * c_out, 1), nn.Conv2d(c_out, c_out, 1)
            self.norm2 = norm(c_out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = silu(self.norm0(self.conv0(x))) + self.affine(embedding)[:, :, None, None]
        x = silu(self.norm1(self.conv1(h))) + self.skip(x)
        return self.norm2(self.attend(x) + x) if self.heads else x

    def attend(self, x: Tensor) -> Tensor:
        b, c, height, width = x.shape
        qkv = self.qkv(x).reshape(b, 3, self.heads, c // self.heads, height * width).transpose(-1, -2)
        attended = scaled_dot_product_attention(qkv[:, 0], qkv[:, 1], qkv[:, 2])
        return self.projection(attended.transpose(-1, -2).reshape(b, c, height, width))
