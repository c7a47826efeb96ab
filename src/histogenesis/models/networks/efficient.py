"""The efficient U-Net of Saharia et al. 2022 (Imagen), appendix B.1 and figures A.27 to A.29.

Each level has its own number of residual blocks, most of them where the picture is small; a level halves the picture before
its blocks, and doubles it after them; skips join levels, not blocks, and are scaled by sqrt(1/2).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs
from histogenesis.models.networks.ddpmpp import Block, conv, doubled, norm
from histogenesis.models.networks.keys import EfficientUNet as Keys


class EfficientUNet(Conditioned):
    """F(x; c_noise, ...) for pictures (B, 3 + seen, H, W), H and W multiples of 2^levels (2^(levels - 1) if not `halve_first`).

    multipliers, blocks, attention: one entry a level, from the finest on. With `halve_first` the first level halves too (the
    form for 256 and 1024 px).
    """

    def __init__(self, keys: Keys, inputs: NetworkInputs):
        super().__init__()
        channels, widths, blocks, attention = keys.channels, keys.widths, keys.blocks, keys.attention
        width_embedding = 4 * channels
        self.build_embeddings(channels, width_embedding, inputs)
        layers = iter(range(10_000))  # each block's number: a part of its dropout key

        def block(c_in, c_out, attends):
            heads = keys.heads if attends else 0
            return Block(c_in, c_out, width_embedding, keys.dropout, next(layers), heads, resample=None)

        def run(c_in, c_out, count, attends):
            """`count` blocks, of which the last has the self-attention, if there is one."""
            return nn.ModuleList(
                [block(c_in if n == 0 else c_out, c_out, attends and n == count - 1) for n in range(count)]
            )

        self.first = conv(inputs.image_channels + inputs.cond_channels, channels)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c = channels
        for level, width in enumerate(widths):
            halves = level > 0 or keys.halve_first
            resize = nn.Conv2d(c, width, 3, stride=2, padding=1) if halves else conv(c, width)
            self.down.append(nn.ModuleList([resize, run(width, width, blocks[level], attention[level])]))
            c = width
        self.middle = nn.ModuleList([block(c, c, attention[-1]), block(c, c, False)])
        for level in reversed(range(len(widths))):
            width, after = widths[level], widths[level - 1] if level else channels
            joined = run(c + width, width, blocks[level], attention[level])
            self.up.append(nn.ModuleList([joined, conv(width, after)]))
            c = after
        self.halves = [level > 0 or keys.halve_first for level in range(len(widths))]
        self.last_norm = norm(2 * channels)
        self.last = conv(2 * channels, inputs.image_channels, gain=1e-5)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        first = x = self.first(x_bchw)
        embedding = silu(self.embed(cond)).to(x.dtype)
        skips = []
        for level in self.down:
            resize, blocks = level.children()
            x = resize(x)
            for block in blocks.children():
                x = block(x, embedding, cond.dropout_key_b)
            skips.append(x)
        for block in self.middle:
            x = block(x, embedding, cond.dropout_key_b)
        for level, halves in zip(self.up, reversed(self.halves)):
            blocks, resize = level.children()
            x = torch.cat([x, skips.pop() * math.sqrt(0.5)], dim=1)
            for block in blocks.children():
                x = block(x, embedding, cond.dropout_key_b)
            x = resize(doubled(x) if halves else x)
        return self.last(silu(self.last_norm(torch.cat([x, first * math.sqrt(0.5)], dim=1))))
