"""The U-Net of Ronneberger et al. 2015 with a time embedding and attention, as Son 2023 uses it.

Batch normalisation, ReLU, max pooling, transposed convolutions; multi-head self-attention with layer normalisation and a GELU
feed-forward where feature maps have certain numbers of channels.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu, scaled_dot_product_attention

from histogenesis.models.conditioning import Conditioned

WIDTH_EMBEDDING = 512


class ClassicUNet(Conditioned):
    """F(x; c_noise) for pictures whose sides are multiples of 2^(levels - 1) px. `classes`: how many labels it may be told."""

    def __init__(
        self,
        channels: int,
        multipliers: list[int],
        attention_channels: list[int],
        heads: int,
        resolution: bool,
        seen_channels: int = 0,
        seen_noise: bool = False,
        image_channels: int = 3,
        classes: int = 0,
        image_px: int | None = None,  # any size: nothing in it depends on that
    ):
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.tell(WIDTH_EMBEDDING, WIDTH_EMBEDDING, resolution, seen_noise, classes)

        def attention(width):
            return Attention(width, heads) if width in attention_channels else nn.Identity()

        inputs = [image_channels + seen_channels, *widths[:-1]]
        self.down = nn.ModuleList(DoubleConvolution(a, b) for a, b in zip(inputs, widths))
        self.down_attention = nn.ModuleList(attention(width) for width in widths)
        pairs = list(zip(widths[:0:-1], widths[-2::-1]))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(DoubleConvolution(2 * b, b) for _, b in pairs)
        self.up_attention = nn.ModuleList(attention(b) for _, b in pairs)
        self.last = nn.Conv2d(widths[0], image_channels, 1)

    def forward(
        self,
        x_bchw: Tensor,
        c_noise_b: Tensor,
        mpp_b: Tensor | None = None,
        dropout_key_b: Tensor | None = None,
        seen_noise_b: Tensor | None = None,
        label_b: Tensor | None = None,
    ) -> Tensor:
        embedding = self.told(c_noise_b, mpp_b, seen_noise_b, label_b).to(x_bchw.dtype)
        x, skips = x_bchw, []
        for k, (block, attend) in enumerate(zip(self.down, self.down_attention)):
            x = attend(block(max_pool2d(x, 2) if k else x, embedding))
            skips.append(x)
        skips.pop()
        for enlarge, block, attend in zip(self.enlarge, self.up, self.up_attention):
            x = attend(block(torch.cat([skips.pop(), enlarge(x)], dim=1), embedding))
        return self.last(x)


class DoubleConvolution(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation and ReLU; the embedding is added between them."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv0, self.norm0 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out)
        self.conv1, self.norm1 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out)
        self.affine = nn.Linear(WIDTH_EMBEDDING, c_out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = relu(self.norm0(self.conv0(x))) + self.affine(embedding)[:, :, None, None]
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
