"""The U-Net of Ronneberger et al. 2015 with a time embedding and attention, as the published code of Son 2023 has it.

Batch normalisation, ReLU, max pooling, transposed convolutions; what is told enters before the first convolution of each pair;
multi-head self-attention with layer normalisation and a GELU feed-forward where feature maps have certain numbers of channels:
after they are pooled, so that skips carry what was there before it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu, scaled_dot_product_attention

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs, in_own_type
from histogenesis.models.networks.keys import ClassicUNet as Keys

WIDTH_EMBEDDING = 512


class ClassicUNet(Conditioned):
    """F(x; c_noise) for pictures whose sides are multiples of 2^(levels - 1) px."""

    frequencies: Tensor

    def __init__(self, keys: Keys, inputs: NetworkInputs):
        super().__init__()
        *widths, deepest = keys.widths
        self.build_embeddings(WIDTH_EMBEDDING, WIDTH_EMBEDDING, inputs, noise=False)
        self.register_buffer(
            "frequencies", 1e4 ** (-2 * torch.arange(WIDTH_EMBEDDING // 2) / WIDTH_EMBEDDING), persistent=False
        )
        self.time = nn.Linear(WIDTH_EMBEDDING, WIDTH_EMBEDDING)

        def attention(width):
            return Attention(width, keys.heads) if width in keys.attention_channels else nn.Identity()

        c_ins = [inputs.image_channels + inputs.cond_channels, *widths]
        self.down = nn.ModuleList(DoubleConvolution(a, b) for a, b in zip(c_ins, widths))
        self.down_attention = nn.ModuleList(attention(width) for width in widths)
        self.middle, self.middle_attention = DoubleConvolution(c_ins[-1], deepest), attention(deepest)
        pairs = list(zip([deepest, *widths[:0:-1]], widths[::-1]))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(DoubleConvolution(2 * b, b) for _, b in pairs)
        self.up_attention = nn.ModuleList(attention(b) for _, b in pairs)
        self.last = nn.Conv2d(keys.widths[0], inputs.image_channels, 1)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        with in_own_type(cond.c_noise_b):
            angle = cond.c_noise_b.float()[:, None] * self.frequencies
            embedding = self.time(torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)) + self.embed(cond)
        embedding = embedding.to(x_bchw.dtype)
        x, skips = x_bchw, []
        for block, attend in zip(self.down, self.down_attention):
            x = block(x, embedding)
            skips.append(x)
            x = attend(max_pool2d(x, 2))
        x = self.middle_attention(self.middle(x, embedding))
        for enlarge, block, attend in zip(self.enlarge, self.up, self.up_attention):
            x = attend(block(torch.cat([enlarge(x), skips.pop()], dim=1), embedding))
        return self.last(x)

    @property
    def float32(self) -> list[nn.Module]:
        return [*super().float32, self.time]


class DoubleConvolution(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation and ReLU; the embedding is added before the first."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.affine = nn.Linear(WIDTH_EMBEDDING, c_in)
        self.conv0, self.norm0 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out)
        self.conv1, self.norm1 = nn.Conv2d(c_out, c_out, 3, padding=1), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = relu(self.norm0(self.conv0(x + self.affine(embedding)[:, :, None, None])))
        return relu(self.norm1(self.conv1(x)))


class Attention(nn.Module):
    """Layer normalisation and multi-head self-attention over all pixels, then a feed-forward with GELU; both residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm0, self.qkv, self.projection = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.feed = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x_bchw: Tensor) -> Tensor:
        b, c, height, width = x_bchw.shape
        x = x_bchw.flatten(2).transpose(1, 2)
        qkv = self.qkv(self.norm0(x)).reshape(b, height * width, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.projection(scaled_dot_product_attention(*qkv).transpose(1, 2).reshape(b, height * width, c))
        x = x + self.feed(x)
        return x.transpose(1, 2).reshape(b, c, height, width)
