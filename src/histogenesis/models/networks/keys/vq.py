"""The keys of networks/vq.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from histogenesis.models.networks.keys import base
from histogenesis.models.networks.keys.base import NetworkKeys, key


@dataclass(frozen=True)
class PublishedVQ:
    """A VQ-f4 in the format of the diffusers library; it must have the layout that the network's other keys say."""

    path: str = field(
        metadata={
            "min_length": 1,
            "description": "a folder with config.json and diffusion_pytorch_model.safetensors",
            "json_schema_extra": {"bears_on_bytes": False},
        }
    )
    sha256: str = field(
        metadata={"pattern": r"^[0-9a-fA-F]{64}$", "description": "of diffusion_pytorch_model.safetensors"}
    )


@dataclass(frozen=True)
class VQF4(NetworkKeys):
    """A vector-quantised autoencoder of factor 4 (Rombach et al. 2022, VQ-f4), in whose latent space other models draw.

    The network is diffusers.VQModel.
    """

    kind: Literal["vq-f4"] = "vq-f4"
    channels: int = key(128, base.CHANNELS, gt=0)
    multipliers: list[int] = key(
        [1, 2, 4], "channels of each level, as a multiple of the first's", min_length=3, max_length=3
    )
    blocks: int = key(2, base.BLOCKS, gt=0)
    codebook_size: int = key(8192, "how many codes the codebook has", gt=0)
    code_channels: int = key(3, "numbers in a code", ge=1, le=3)
    attention: bool = key(True, "self-attention in the middle, as the original has it")
    weights: PublishedVQ | None = key(
        None, "start from these; with `training: {steps: 1, lr: 1.0e-9}`, use them as they are"
    )
    objective: ClassVar[str] = "autoencoder"
    denoises: ClassVar[bool] = False
