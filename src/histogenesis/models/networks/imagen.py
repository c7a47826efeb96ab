"""The U-Net of imagen-pytorch (its form of Saharia et al. 2022), which the published code of URCDM takes.

Written from its structure: a first convolution of 3, 7 and 15 px; a block of each level that may attend to what is told,
further blocks that each weigh their channels by what they see of the whole picture, self-attention with a feed-forward; skips
from every block and from the attention, scaled by sqrt(1/2); pixels folded into channels to halve, and unfolded to double; a
last block. What is told comes as a sum to every block, and as two tokens for each noise level to what attends. That package's
text conditioning, whose weights no picture reaches, is left out.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import (
    layer_norm,
    normalize,
    pixel_shuffle,
    pixel_unshuffle,
    scaled_dot_product_attention,
    silu,
)

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs, in_own_type
from histogenesis.models.conditions import LOWRES_NOISE_STEPS, log_snr_of
from histogenesis.models.networks.keys import ImagenUNet as Keys

TOKENS = 2  # for each noise level that is told
FREQUENCIES = 8
SCALE = 8  # of the cosine between query and key


class ImagenUNet(Conditioned):
    """F(x; log-SNR, ...) for pictures whose sides are multiples of 2^levels px (2^(levels - 1) if not `halve_first`)."""

    def __init__(self, keys: Keys, inputs: NetworkInputs):
        super().__init__()
        first, widths, count = keys.channels, keys.widths, len(keys.multipliers)
        cond_width = first * 4 * (2 if inputs.lowres_noise else 1)
        self.build_embeddings(first, cond_width, inputs, noise=False, lowres_noise=False)
        self.time = TimeTokens(cond_width, first)
        self.seen_time = TimeTokens(cond_width, first) if inputs.lowres_noise else None
        self.token_norm = nn.LayerNorm(first)

        def block(c_in, c_out, crosses=False, gates=False):
            heads = (keys.heads, keys.head_channels, first) if crosses else None
            return Block(c_in, c_out, cond_width, heads, gates)

        def attention(width, context=first):
            return Transformer(width, keys.heads, keys.head_channels, context)

        self.first = FirstConvolution(inputs.image_channels + inputs.cond_channels, first)
        self.first_block = block(first, first, gates=True) if keys.halve_first else None
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        inner = []
        for level, (c_in, c_out) in enumerate(zip([first, *widths], widths)):
            c = c_out if keys.halve_first else c_in
            halve: nn.Module = nn.Conv2d(4 * c_in, c_out, 1)
            if not keys.halve_first and level == count - 1:  # it changes channels, and no size
                halve = nn.ModuleList([nn.Conv2d(c_in, c_out, 3, padding=1), nn.Conv2d(c_in, c_out, 1)])
            blocks = nn.ModuleList(block(c, c, gates=True) for _ in range(keys.blocks[level]))
            attends = attention(c) if keys.attention[level] else nn.Identity()
            self.down.append(nn.ModuleList([halve, block(c, c, keys.cross_attention[level]), blocks, attends]))
            inner.append(c)
        deepest = widths[-1]
        self.middle = nn.ModuleList([block(deepest, deepest, True), block(deepest, deepest, True)])
        self.middle_attention = attention(deepest, None)
        for level in reversed(range(count)):
            c, c_out = widths[level], [first, *widths][level]
            joined = c + inner[level]
            blocks = nn.ModuleList(block(joined, c, gates=True) for _ in range(keys.blocks[level]))
            attends = attention(c) if keys.attention[level] else nn.Identity()
            double = Double(c, c_out) if level or keys.halve_first else nn.Identity()
            self.up.append(nn.ModuleList([block(joined, c, keys.cross_attention[level]), blocks, attends, double]))
        self.halve_first, self.first_to_last = keys.halve_first, keys.first_to_last
        # Without a doubling at last, what comes up has the width of the finest level.
        risen = first if keys.halve_first else widths[0]
        self.last_block = block(risen + (first if keys.first_to_last else 0), first, gates=True)
        lowres_channels = inputs.image_channels if inputs.lowres_noise else 0
        self.last = nn.Conv2d(first + lowres_channels, inputs.image_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        self.image_channels = inputs.image_channels

    def embed_cond(self, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """What every block is told (B, width), and what is attended to (B, tokens, channels); float32."""
        with in_own_type(cond.c_noise_b):
            time, tokens = self.time(cond.c_noise_b.float())
            if self.seen_time is not None:
                lowres_time, more = self.seen_time(log_snr_of(cond.lowres_noise_b.float() / LOWRES_NOISE_STEPS))
                time, tokens = time + lowres_time, torch.cat([tokens, more], dim=1)
            return silu(time + self.embed(cond)), self.token_norm(tokens)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        embedding, tokens = (part.to(x_bchw.dtype) for part in self.embed_cond(cond))
        first = x = self.first(x_bchw)
        if self.first_block is not None:
            x = self.first_block(x, embedding)
        skips = []
        for level in self.down:
            halve, crossing, blocks, attend = level.children()
            if self.halve_first:
                x = halve(pixel_unshuffle(x, 2))
            x = crossing(x, embedding, tokens)
            for block in blocks.children():
                x = block(x, embedding)
                skips.append(x)
            x = attend(x, tokens) if isinstance(attend, Transformer) else x
            skips.append(x)
            if not self.halve_first:
                x = sum(conv(x) for conv in halve) if isinstance(halve, nn.ModuleList) else halve(pixel_unshuffle(x, 2))
        x = self.middle[0](x, embedding, tokens)
        x = self.middle[1](self.middle_attention(x), embedding, tokens)
        for level in self.up:
            crossing, blocks, attend, double = level.children()
            x = crossing(joined(x, skips), embedding, tokens)
            for block in blocks.children():
                x = block(joined(x, skips), embedding)
            x = double(attend(x, tokens) if isinstance(attend, Transformer) else x)
        x = self.last_block(torch.cat([x, first], dim=1) if self.first_to_last else x, embedding)
        if self.seen_time is not None:  # the low-resolution picture, which lies beside the noisy one
            x = torch.cat([x, x_bchw[:, self.image_channels : 2 * self.image_channels]], dim=1)
        return self.last(x)

    @property
    def float32(self) -> list[nn.Module]:
        return [m for m in (*super().float32, self.time, self.seen_time, self.token_norm) if m is not None]


def joined(x: Tensor, skips: list[Tensor]) -> Tensor:
    return torch.cat([x, skips.pop() * math.sqrt(0.5)], dim=1)


class TimeTokens(nn.Module):
    """A noise level -> sinusoids of frequencies that are learnt -> a vector for every block, and tokens to attend to."""

    def __init__(self, width: int, token: int):
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(FREQUENCIES))
        self.hidden, self.vector = nn.Linear(2 * FREQUENCIES + 1, width), nn.Linear(width, width)
        self.tokens = nn.Linear(width, TOKENS * token)

    def forward(self, value_b: Tensor) -> tuple[Tensor, Tensor]:
        angle = value_b[:, None] * self.frequencies * 2 * math.pi
        hidden = silu(self.hidden(torch.cat([value_b[:, None], angle.sin(), angle.cos()], dim=1)))
        return self.vector(hidden), self.tokens(hidden).unflatten(1, (TOKENS, -1))


class FirstConvolution(nn.Module):
    """Convolutions of 3, 7 and 15 px side by side, the smallest with half of the channels."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        widths = [c_out // 2, c_out // 4, c_out - c_out // 2 - c_out // 4]
        self.convs = nn.ModuleList(nn.Conv2d(c_in, c, k, padding=k // 2) for c, k in zip(widths, (3, 7, 15)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([conv(x) for conv in self.convs], dim=1)


class Block(nn.Module):
    """Two convolutions; between them attention to what is told (heads: their number, channels of each, of a token), then scale
    and shift by it; at last each channel is weighed by what the block sees of the whole picture (gates)."""

    def __init__(self, c_in: int, c_out: int, cond_width: int, heads: tuple[int, int, int] | None, gates: bool):
        super().__init__()
        self.affine = nn.Linear(cond_width, 2 * c_out)
        self.cross = Attention(c_out, *heads, itself=False) if heads else None
        self.norm0, self.conv0 = ChannelNorm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm1, self.conv1 = ChannelNorm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.gate = Gate(c_out) if gates else None
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor | None = None) -> Tensor:
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.conv0(silu(self.norm0(x)))
        if self.cross is not None:
            pixels = h.flatten(2).transpose(1, 2)
            h = (self.cross(pixels, tokens) + pixels).transpose(1, 2).unflatten(2, h.shape[-2:])
        h = self.conv1(silu(self.norm1(h) * (scale + 1) + shift))
        return (h if self.gate is None else h * self.gate(h)) + self.skip(x)


class ChannelNorm(nn.Module):
    """Each pixel divided by the root mean square of its channels."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return normalize(x, dim=1) * math.sqrt(x.shape[1]) * self.gain


class Gate(nn.Module):
    """Global context: pixels averaged by weights of their own, and of that a number from 0 to 1 for each channel."""

    def __init__(self, width: int):
        super().__init__()
        self.weigh = nn.Conv2d(width, 1, 1)
        hidden = max(3, width // 2)
        self.narrow, self.widen = nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weigh(x).flatten(2).softmax(dim=-1)
        context = (x.flatten(2) @ weights.transpose(1, 2))[..., None]
        return self.widen(silu(self.narrow(context))).sigmoid()


class Gain(nn.Module):
    """Layer normalisation without a shift, over the last dimension."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, x.shape[-1:], self.gain.to(x.dtype))


class Attention(nn.Module):
    """Cosine attention of pixels (B, N, C) to tokens and, `itself`, to one another by one key and value for all heads.

    There is one key and value more than are given, which is learnt.
    """

    def __init__(self, width: int, heads: int, head_channels: int, token: int | None, itself: bool):
        super().__init__()
        self.heads, self.itself = heads, itself
        inner = heads * head_channels
        self.norm = Gain(width)
        self.none = nn.Parameter(torch.randn(2, head_channels))
        self.to_q = nn.Linear(width, inner, bias=False)
        self.q_gain, self.k_gain = nn.Parameter(torch.ones(head_channels)), nn.Parameter(torch.ones(head_channels))
        if itself:
            self.to_kv = nn.Linear(width, 2 * head_channels, bias=False)
            tokens = [nn.LayerNorm(token), nn.Linear(token, 2 * head_channels)] if token else []
            self.token_kv = nn.Sequential(*tokens)
        else:
            self.to_kv = nn.Linear(token, 2 * inner, bias=False)
        self.to_out, self.last_norm = nn.Linear(inner, width, bias=False), Gain(width)

    def forward(self, x_bnc: Tensor, tokens: Tensor | None) -> Tensor:
        x = self.norm(x_bnc)
        q = self.split(self.to_q(x))
        given = [self.to_kv(x if self.itself else tokens)]
        if self.itself and len(self.token_kv):
            given.insert(0, self.token_kv(tokens))
        nothing = self.none.to(x.dtype)[:, None, None].expand(2, len(x), 1, -1)
        k, v = (torch.cat(parts, dim=1) for parts in zip(*(one.chunk(2, dim=-1) for one in given)))
        if self.itself:  # one key and value for all heads
            k, v = torch.cat([nothing[0], k], dim=1)[:, None], torch.cat([nothing[1], v], dim=1)[:, None]
            k, v = (part.expand(-1, self.heads, -1, -1) for part in (k, v))
        else:
            k, v = (
                torch.cat([none[:, None].expand(-1, self.heads, -1, -1), self.split(part)], dim=2)
                for none, part in zip(nothing, (k, v))
            )
        q, k = normalize(q, dim=-1) * self.q_gain.to(x.dtype), normalize(k, dim=-1) * self.k_gain.to(x.dtype)
        out = scaled_dot_product_attention(q, k, v, scale=SCALE)
        return self.last_norm(self.to_out(out.transpose(1, 2).flatten(2)))

    def split(self, x_bnc: Tensor) -> Tensor:
        """(B, N, heads * c) -> (B, heads, N, c)."""
        return x_bnc.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Transformer(nn.Module):
    """Self-attention, to tokens as well where their width is given, and a feed-forward of twice the width; both residual."""

    def __init__(self, width: int, heads: int, head_channels: int, token: int | None):
        super().__init__()
        self.attention = Attention(width, heads, head_channels, token, itself=True)
        self.feed = nn.Sequential(
            Gain(width),
            nn.Linear(width, 2 * width, bias=False),
            nn.GELU(),
            Gain(2 * width),
            nn.Linear(2 * width, width, bias=False),
        )

    def forward(self, x_bchw: Tensor, tokens: Tensor | None = None) -> Tensor:
        x = x_bchw.flatten(2).transpose(1, 2)
        x = x + self.attention(x, tokens)
        x = x + self.feed(x)
        return x.transpose(1, 2).unflatten(2, x_bchw.shape[-2:])


class Double(nn.Module):
    """Twice the size: four times the channels, unfolded into pixels."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, 4 * c_out, 1)
        one = torch.empty(c_out, c_in, 1, 1)
        nn.init.kaiming_uniform_(one)
        with torch.no_grad():  # the four pixels begin alike, so that no grid is drawn at first
            self.conv.weight.copy_(one.repeat_interleave(4, dim=0))
            self.conv.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(silu(self.conv(x)), 2)
