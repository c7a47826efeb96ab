"""A vector-quantised autoencoder of factor 4: what the latent diffusion model of Rombach et al. 2022 calls VQ-f4.

Their layout (128 channels, multipliers 1, 2, 4, two residual blocks, 3 latent channels, 8192 codes) without the attention in
the middle, so that it takes any size; and trained by mean absolute error and the codebook's losses alone: the perceptual loss
of the original needs pretrained weights, and its adversarial loss is left out with it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histogenesis.diffusion.networks import norm

FACTOR = 4  # px of a picture to one of its latent


class VQF4(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1], H and W multiples of 4, to latents (B, code_channels, H / 4, W / 4) and back."""

    def __init__(self, channels: int, multipliers: list[int], blocks: int, codes: int, code_channels: int):
        super().__init__()
        widths = [channels * m for m in multipliers]
        down: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1)]
        c = channels
        for level, width in enumerate(widths):
            for _ in range(blocks):
                down.append(Residual(c, width))
                c = width
            if level < len(widths) - 1:
                down.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
        middle = [Residual(c, c), Residual(c, c)]
        self.encoder = nn.Sequential(*down, *middle, norm(c), nn.SiLU(), nn.Conv2d(c, code_channels, 3, padding=1))
        up: list[nn.Module] = [nn.Conv2d(code_channels, c, 3, padding=1), Residual(c, c), Residual(c, c)]
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                up.append(Residual(c, width))
                c = width
            if level:
                up += [nn.Upsample(scale_factor=2.0), nn.Conv2d(c, c, 3, padding=1)]
        self.decoder = nn.Sequential(*up, norm(c), nn.SiLU(), nn.Conv2d(c, 3, 3, padding=1))
        self.codes = nn.Embedding(codes, code_channels)
        nn.init.uniform_(self.codes.weight, -1 / codes, 1 / codes)

    def encode(self, x_bchw: Tensor) -> Tensor:
        """Latents before quantisation, in which diffusion works (Rombach et al. 2022, section 3.1)."""
        return self.encoder(x_bchw)

    def quantise(self, z_bchw: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest code of each latent pixel, (B, c, h, w), and its number, (B, h, w)."""
        b, c, h, w = z_bchw.shape
        flat = z_bchw.permute(0, 2, 3, 1).reshape(-1, c).float()
        codes = self.codes.weight.float()
        far = flat.square().sum(1, keepdim=True) - 2 * flat @ codes.T + codes.square().sum(1)
        index = far.argmin(dim=1)
        return self.codes(index).reshape(b, h, w, c).permute(0, 3, 1, 2), index.reshape(b, h, w)

    def decode(self, z_bchw: Tensor) -> Tensor:
        """Latents, which are quantised first, to pictures."""
        return self.decoder(self.quantise(z_bchw)[0])

    def losses(self, x_bchw: Tensor, commitment: float) -> Tensor:
        """Mean absolute error plus the codebook's and the encoder's part (van den Oord et al. 2017, eq. 3); shape (B,)."""
        z = self.encode(x_bchw)
        code, _ = self.quantise(z)
        made = self.decoder(z + (code - z).detach())  # straight through: the decoder's gradient reaches the encoder
        return (
            (made - x_bchw).abs().mean(dim=(1, 2, 3))
            + F.mse_loss(code, z.detach(), reduction="none").mean(dim=(1, 2, 3))
            + commitment * F.mse_loss(z, code.detach(), reduction="none").mean(dim=(1, 2, 3))
        )


class Residual(nn.Module):
    """Two normalised convolutions around a skip."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm0, self.conv0 = norm(c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm1, self.conv1 = norm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        return self.skip(x) + self.conv1(F.silu(self.norm1(h)))


@torch.no_grad()
def latent_spread(network: VQF4, pictures_bchw: Tensor, batch: int = 16) -> float:
    """Standard deviation of the latents of pictures in [-1, 1]: diffusion works on latents divided by it."""
    parts = [network.encode(pictures_bchw[i : i + batch]).flatten() for i in range(0, len(pictures_bchw), batch)]
    return float(torch.cat(parts).double().std())
