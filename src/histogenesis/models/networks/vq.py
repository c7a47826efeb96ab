"""A vector-quantised autoencoder of factor 4: what the latent diffusion model of Rombach et al. 2022 calls VQ-f4.

The network is the one of the diffusers library, so that published weights in its format fit. It takes pictures of any size that
is a multiple of 4 px, also with the original's self-attention in the middle, which sees all of the picture that it is given.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from histogenesis.core.errors import BadInput
from histogenesis.core.files import sha256_of
from histogenesis.models.networks.ddpmpp import norm

FACTOR = 4  # px of a picture to one of its latent
WEIGHTS = "diffusion_pytorch_model.safetensors"  # as diffusers names them in a model's folder
LAYOUT = [  # what two VQModels must have in common for the weights of one to mean the same in the other
    "in_channels",
    "out_channels",
    "block_out_channels",
    "down_block_types",
    "up_block_types",
    "layers_per_block",
    "act_fn",
    "latent_channels",
    "num_vq_embeddings",
    "norm_num_groups",
    "norm_type",
    "mid_block_add_attention",
]


class VQF4(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1], H and W multiples of 4, to latents (B, code_channels, H / 4, W / 4) and back."""

    def __init__(
        self,
        channels: int,
        multipliers: list[int],
        blocks: int,
        codebook_size: int,
        code_channels: int,
        attention: bool,
    ):
        super().__init__()
        from diffusers.models import VQModel  # seconds to import, and only needed where there is an autoencoder

        self.model = VQModel(
            block_out_channels=[channels * m for m in multipliers],
            down_block_types=["DownEncoderBlock2D"] * len(multipliers),
            up_block_types=["UpDecoderBlock2D"] * len(multipliers),
            layers_per_block=blocks,
            num_vq_embeddings=codebook_size,
            latent_channels=code_channels,
            norm_num_groups=norm(channels).num_groups,  # 32 for the original's 128 channels
            mid_block_add_attention=attention,
        )

    @property
    def codebook(self) -> nn.Embedding:
        return self.model.quantize.embedding

    @property
    def last_weight(self) -> Tensor:
        """Of the decoder's last layer, where VQGAN weighs its losses against each other."""
        return self.model.decoder.conv_out.weight

    def forward(self, x_bchw: Tensor) -> Tensor:
        """Pictures to what is left of them."""
        return self.decode(self.encode(x_bchw))

    def encode(self, x_bchw: Tensor) -> Tensor:
        """Latents before quantisation, in which diffusion works (Rombach et al. 2022, section 3.1)."""
        return self.model.encode(x_bchw).latents

    def quantise(self, z_bchw: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest code of each latent pixel, (B, c, h, w), and its number, (B, h, w)."""
        b, _, h, w = z_bchw.shape
        index = self.model.quantize(z_bchw.float())[2][2].reshape(b, h, w)
        return self.codebook(index).permute(0, 3, 1, 2), index

    def decode(self, z_bchw: Tensor) -> Tensor:
        """Latents, which are quantised first, to pictures."""
        return self._decode(self.quantise(z_bchw)[0])

    def _decode(self, code_bchw: Tensor) -> Tensor:
        return self.model.decode(code_bchw, force_not_quantize=True).sample

    def reconstruct(self, x_bchw: Tensor, commitment: float) -> tuple[Tensor, Tensor]:
        """Pictures after encoding and decoding; the codebook's and the encoder's loss (van den Oord et al. 2017, eq. 3), (B,).

        The library's own codebook loss is one number for a batch; ours is one for each sample, as training wants it.
        """
        z = self.encode(x_bchw).float()
        code, _ = self.quantise(z)
        reconstruction = self._decode(
            z + (code - z).detach()
        )  # straight through: the decoder's gradient reaches the encoder
        codebook = (code - z.detach()).square() + commitment * (z - code.detach()).square()
        return reconstruction.float(), codebook.mean(dim=(1, 2, 3))

    def start_from(self, folder: Path, sha256: str) -> None:
        """Take the weights of a VQModel that diffusers has saved: config.json and diffusion_pytorch_model.safetensors.

        Raises BadInput where they are missing, are not those of the checksum, or belong to another layout than the recipe's.
        """
        from diffusers.models import VQModel

        file = folder / WEIGHTS
        if not (folder / "config.json").exists() or not file.exists():
            raise BadInput(
                f"{folder}: the folder of a VQModel has config.json and {WEIGHTS}; pickled weights (.bin) are never loaded, so"
                " save those anew with VQModel.from_pretrained(...).save_pretrained(..., safe_serialization=True)"
            )
        check_sha256(file, sha256)
        # This also knows older names of the attention's weights.
        published = VQModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
        for key in LAYOUT:
            there, here = published.config[key], self.model.config[key]
            if there != here:
                raise BadInput(f"{folder}/config.json: {key} is {there}, and the recipe's network has {here}")
        self.model.load_state_dict(published.state_dict())


def check_sha256(file: Path, sha256: str) -> None:
    """Raises BadInput for a file that is not there, or is another than the recipe means."""
    if not file.is_file():
        raise BadInput(f"{file}: there is no such file; fetch it, or correct the recipe")
    sha256_there = sha256_of(file)
    if sha256_there != sha256.lower():
        raise BadInput(f"{file}: its sha256 is {sha256_there}, not {sha256}; fetch it again, or correct the recipe")


@torch.no_grad()
def latent_std(network: VQF4, pictures_bchw: Tensor, batch: int = 16) -> float:
    """Standard deviation of the latents of pictures in [-1, 1]: diffusion works on latents divided by it."""
    parts = [network.encode(pictures_bchw[i : i + batch]).flatten() for i in range(0, len(pictures_bchw), batch)]
    return float(torch.cat(parts).double().std())
