"""The networks, by the kind that a recipe names them with. A new one is a file here, its keys in keys/, and a line below."""

from importlib import import_module

NETWORKS = {
    "ddpmpp": "ddpmpp.DDPMpp",
    "efficient": "efficient.EfficientUNet",
    "imagen": "imagen.ImagenUNet",
    "classic-unet": "classic_unet.ClassicUNet",
    "guided-unet": "guided_unet.GuidedUNet",
    "post-norm-unet": "post_norm_unet.PostNormUNet",
    "cross-attention-unet": "cross_attention_unet.CrossAttentionUNet",
    "jit": "jit.JiT",
}


def network_class(kind: str) -> type:
    """The class of a network that denoises; its module, and PyTorch, are imported here and not before."""
    module, name = NETWORKS[kind].split(".")
    return getattr(import_module(f"{__name__}.{module}"), name)
