"""What each network is made from: its keys in a recipe, which sizes it takes, where it attends. The networks lie beside this.

They import nothing but the standard library: a recipe is read where no PyTorch is, and a network built where no pydantic is.
"""

from typing import Any

from histogenesis.models.networks.keys.base import NetworkKeys
from histogenesis.models.networks.keys.classic_unet import ClassicUNet
from histogenesis.models.networks.keys.cross_attention_unet import CrossAttentionUNet
from histogenesis.models.networks.keys.ddpmpp import Network
from histogenesis.models.networks.keys.edsr import EDSR
from histogenesis.models.networks.keys.efficient import EfficientUNet
from histogenesis.models.networks.keys.guided_unet import GuidedUNet
from histogenesis.models.networks.keys.imagen import ImagenUNet
from histogenesis.models.networks.keys.jit import JiT
from histogenesis.models.networks.keys.post_norm_unet import PostNormUNet
from histogenesis.models.networks.keys.vq import VQF4, PublishedVQ

KEYS: tuple[type[NetworkKeys], ...] = (
    Network,
    EfficientUNet,
    ImagenUNet,
    ClassicUNet,
    GuidedUNet,
    PostNormUNet,
    CrossAttentionUNet,
    JiT,
    VQF4,
    EDSR,
)


def kind_of(section: Any) -> type[NetworkKeys]:
    """What the network is that a section names by its `kind` (models.options.Options)."""
    return next(one for one in KEYS if one.kind == section.kind)


def keys_of(section: Any) -> NetworkKeys:
    """Its keys, with their values."""
    return kind_of(section)(**vars(section))


__all__ = [
    "EDSR",
    "KEYS",
    "VQF4",
    "ClassicUNet",
    "CrossAttentionUNet",
    "EfficientUNet",
    "GuidedUNet",
    "ImagenUNet",
    "JiT",
    "Network",
    "NetworkKeys",
    "PostNormUNet",
    "PublishedVQ",
    "keys_of",
    "kind_of",
]
