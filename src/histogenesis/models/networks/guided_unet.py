"""The U-Net of guided diffusion (Dhariwal and Nichol 2021, "ADM"), as the diffusers library builds it.

Their choices (section 3 and table 4): residual blocks that also halve and double, group normalisation scaled and shifted by the
embedding, self-attention at several feature-map sizes with so many channels a head, layers that begin with zero.
"""

from torch import Tensor, nn

from histogenesis.models.conditioning import Conditioned
from histogenesis.models.networks.ddpmpp import norm


class GuidedUNet(Conditioned):
    """F(x; c_noise) for images of `image_px` (height = width); any multiple of 2^(levels - 1) px may be given later.

    Attention sits where the feature map of a *training* patch has one of the sizes `attention_px`, and in the middle. There is
    no dropout: ours is keyed by the sample, so that any split of a batch drops the same, and the library's is not.
    """

    def __init__(
        self,
        image_px: int,
        channels: int,
        multipliers: list[int],
        blocks: int,
        attention_px: list[int],
        head_channels: int,
        resolution: bool,
        image_channels: int = 3,
        seen_channels: int = 0,
        seen_noise: bool = False,
        classes: int = 0,
    ):
        super().__init__()
        from diffusers import UNet2DModel  # seconds to import, and only needed where a recipe has this network
        from diffusers.models.attention_processor import Attention
        from diffusers.models.resnet import ResnetBlock2D

        attends = [image_px >> level in attention_px for level in range(len(multipliers))]
        groups = norm(channels).num_groups  # 32 for 128 channels and more
        self.unet = UNet2DModel(
            in_channels=image_channels + seen_channels,
            out_channels=image_channels,
            block_out_channels=[channels * m for m in multipliers],
            layers_per_block=blocks,
            down_block_types=["AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends],
            up_block_types=["AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attends)],
            downsample_type="resnet",
            upsample_type="resnet",
            attention_head_dim=head_channels,
            norm_num_groups=groups,
            attn_norm_num_groups=groups,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",  # it adds what we embed: mpp, class, noise of the pictures it sees
        )
        for module in self.unet.modules():
            if isinstance(module, ResnetBlock2D):
                zero(module.conv2)
            if isinstance(module, Attention):
                zero(module.to_out[0])
        zero(self.unet.conv_out)
        self.tell(channels, 4 * channels, resolution, seen_noise, classes, noise=False)

    def forward(
        self,
        x_bchw: Tensor,
        c_noise_b: Tensor,
        mpp_b: Tensor | None = None,
        dropout_key_b: Tensor | None = None,
        seen_noise_b: Tensor | None = None,
        label_b: Tensor | None = None,
    ) -> Tensor:
        """(B, 3 + seen, H, W) -> (B, 3, H, W). `seen_noise_b`: how much noise the low-resolution picture beside x has."""
        told = self.told(c_noise_b, mpp_b, seen_noise_b, label_b)
        return self.unet(x_bchw, c_noise_b, class_labels=told).sample


def zero(layer: nn.Module) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
