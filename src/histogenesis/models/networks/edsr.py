"""EDSR, which doubles a picture (Lim et al., Enhanced Deep Residual Networks for Single Image Super-Resolution, 2017)."""

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two convolutions and no batch normalisation; the branch is scaled down where the network is wide (section 3.3)."""

    def __init__(self, channels: int, scale: float):
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.second(self.first(x).relu())


class EDSR(nn.Module):
    """(B, 3, h, w) -> (B, 3, 2h, 2w); the paper's baseline has 64 channels and 16 blocks, its large model 256 and 32."""

    def __init__(self, channels: int, blocks: int):
        super().__init__()
        scale = 0.1 if channels >= 256 else 1.0
        self.first = conv(3, channels)
        self.body = nn.Sequential(*(ResidualBlock(channels, scale) for _ in range(blocks)), conv(channels, channels))
        self.enlarge = nn.Sequential(conv(channels, 4 * channels), nn.PixelShuffle(2))
        self.last = conv(channels, 3)

    def forward(self, x_bchw: Tensor) -> Tensor:
        x = self.first(x_bchw)
        return self.last(self.enlarge(x + self.body(x)))

    @property
    def reach_px(self) -> int:
        """How far, in px of its input, a pixel of the result can see: one for each convolution on the way."""
        return 1 + 2 * (len(self.body) - 1) + 1 + 1 + 1


def conv(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)
