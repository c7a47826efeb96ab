"""The U-Net of guided diffusion (Dhariwal and Nichol 2021, "ADM"), as the diffusers library builds it.

Their choices (section 3 and table 4): residual blocks that also halve and double, group normalisation scaled and shifted by the
embedding, self-attention at several feature-map sizes with so many channels a head, layers that begin with zero.
"""

from torch import Tensor, nn

from histogenesis.models.conditioning import Conditioned, Conditioning, NetworkInputs
from histogenesis.models.networks.ddpmpp import norm
from histogenesis.models.networks.keys import GuidedUNet as Keys


class GuidedUNet(Conditioned):
    """F(x; c_noise) for images of `image_px` (height = width); any multiple of 2^(levels - 1) px may be given later.

    Attention sits where the feature map of a *training* patch has one of the sizes `attention_px` (or at the levels
    `attention_levels`), and in the middle. There is no dropout: ours is keyed by the sample, so that any split of a batch drops
    the same, and the library's is not.
    """

    def __init__(self, keys: Keys, inputs: NetworkInputs):
        super().__init__()
        from diffusers.models import UNet2DModel  # seconds to import, and only needed where a recipe has this network
        from diffusers.models.attention_processor import Attention
        from diffusers.models.resnet import ResnetBlock2D

        attends = [level in keys.attention(inputs.image_px) for level in range(len(keys.multipliers))]
        groups = norm(keys.channels).num_groups  # 32 for 128 channels and more
        self.unet = UNet2DModel(
            in_channels=inputs.image_channels + inputs.cond_channels,
            out_channels=inputs.image_channels,
            block_out_channels=keys.widths,
            layers_per_block=keys.blocks,
            down_block_types=["AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends],
            up_block_types=["AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)],
            downsample_type="resnet",
            upsample_type="resnet",
            attention_head_dim=keys.head_channels,
            norm_num_groups=groups,
            attn_norm_num_groups=groups,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",  # it adds what we embed: mpp, class, noise of the pictures it sees
        )
        for module in self.unet.modules():
            if isinstance(module, ResnetBlock2D):
                zero(module.conv2)
            if isinstance(module, Attention):
                out = module.to_out[0]
                assert isinstance(out, nn.Linear)
                zero(out)
        zero(self.unet.conv_out)
        self.build_embeddings(keys.channels, 4 * keys.channels, inputs, noise=False)

    def predict(self, x_bchw: Tensor, cond: Conditioning) -> Tensor:
        return self.unet(x_bchw, cond.c_noise_b, class_labels=self.embed(cond)).sample


def zero(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
