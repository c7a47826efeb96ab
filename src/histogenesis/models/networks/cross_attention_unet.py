"""The U-Net of latent diffusion (Rombach et al. 2022) with spatial transformers, as the diffusers library builds it.

Each transformer attends to the feature map itself, then to what the network is told: its class, and its mpp, each as one token.
"""

import torch
from torch import Tensor, nn

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs
from histogenesis.models.networks.ddpmpp import norm
from histogenesis.models.networks.keys import CrossAttentionUNet as Keys


class CrossAttentionUNet(Conditioned):
    """F(x; c_noise, tokens) for pictures or latents whose sides are multiples of 2^(levels - 1) px.

    A network that is told nothing attends to one token of zeros. There is no dropout: see GuidedUNet.
    """

    def __init__(self, keys: Keys, inputs: NetworkInputs):
        super().__init__()
        # Seconds to import, and only needed where a recipe has this network.
        from diffusers.models import UNet2DConditionModel

        attends = [level in keys.attention_levels for level in range(len(keys.multipliers))]
        self.unet = UNet2DConditionModel(
            in_channels=inputs.image_channels + inputs.cond_channels,
            out_channels=inputs.image_channels,
            block_out_channels=keys.widths,
            layers_per_block=keys.blocks,
            down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
            up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
            attention_head_dim=keys.heads,  # so the library names their number
            cross_attention_dim=keys.context_channels,
            norm_num_groups=norm(keys.channels).num_groups,
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)
        self.build_embeddings(keys.context_channels, keys.context_channels, inputs, noise=False)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        tokens = torch.stack(self.embeddings(cond) or [self.embed(cond)], dim=1).to(x_bchw.dtype)
        return self.unet(x_bchw, cond.c_noise_b, encoder_hidden_states=tokens).sample
