"""Encoders: images in, feature vectors out. Some are always there; the larger ones are loaded from a file of the user's.

`stain-statistics` has no weights; `efficientnet-lite0` (ImageNet) and `he-network` (H&E) come with packages that carry theirs;
`inception` is the FID network; the rest are DINOv2 and the pathology encoders, as TorchScript or a folder of the transformers
library. Nothing is downloaded here: several of these weights are gated, and their licences are for the user to accept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
INCEPTION_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
MOST_ENLARGED = 2.0  # an encoder of a finer mpp is shown patches enlarged at most so often: pixels are not made up


@dataclass(frozen=True)
class Known:
    """How a published encoder wants its images, what of its answer is the feature, and on which terms it is given."""

    source: str
    licence: str = ""
    gated: bool = False
    mpp: float | None = 0.5
    size_px: int = 224
    mean: tuple = IMAGENET[0]
    std: tuple = IMAGENET[1]
    registers: int = 0
    pool: str = "class"  # the class token; "class+mean": with the mean of the patch tokens beside it


NO_DERIVATIVES = "CC BY-NC-ND 4.0"
OPTIMUS = Known(
    "bioptimus/H-optimus-0",
    "Apache-2.0",
    mean=(0.707223, 0.578729, 0.703617),
    std=(0.211883, 0.230117, 0.177517),
    registers=4,
)
KNOWN = {
    "dinov2": Known("facebook/dinov2-base", "Apache-2.0", mpp=None),
    "midnight-12k": Known("kaiko-ai/midnight", "MIT", mean=HALVES[0], std=HALVES[1], pool="class+mean"),
    "phikon": Known("owkin/phikon", "Owkin non-commercial"),
    "phikon-v2": Known("owkin/phikon-v2", "Owkin non-commercial"),
    "uni": Known("MahmoodLab/UNI", NO_DERIVATIVES, gated=True),
    "uni2-h": Known("MahmoodLab/UNI2-h", NO_DERIVATIVES, gated=True, registers=8),
    "virchow": Known("paige-ai/Virchow", "Apache-2.0", gated=True, pool="class+mean"),
    "virchow2": Known("paige-ai/Virchow2", NO_DERIVATIVES, gated=True, pool="class+mean", registers=4),
    "h-optimus-0": OPTIMUS,
    "h-optimus-1": replace(OPTIMUS, source="bioptimus/H-optimus-1", licence=NO_DERIVATIVES, gated=True),
}
FILELESS = ("stain-statistics", "efficientnet-lite0", "he-network")


@dataclass(frozen=True)
class Encoder:
    """name; weights: sha256 of what it was loaded from; encode: uint8 (n, h, w, 3) -> float32 (n, d), n fixed.

    What it wants to be shown: pixels of `mpp` (None: any), sides of at least `least_px` and multiples of `multiple`;
    `size_px`: to this size it resizes whatever it is given. licence: of its weights.
    """

    name: str
    weights: str
    encode: Callable[[np.ndarray], np.ndarray]
    turned_alike: bool = False  # turned and mirrored images have the same features
    mpp: float | None = None
    least_px: int = 1
    multiple: int = 1
    size_px: int | None = None
    licence: str = ""

    def shown_px(self, px: int, mpp: float | None) -> int:
        """The side to which patches of `px` at `mpp` are resampled before `encode` sees them."""
        scale = 1.0 if not mpp or self.mpp is None or self.size_px else min(mpp / self.mpp, MOST_ENLARGED)
        return max(self.least_px, self.multiple * max(1, round(px * scale / self.multiple)))

    def shown(self, px: int, mpp: float | None) -> str:
        """In words: what it is shown of such patches; empty where these are taken as they are."""
        to = self.size_px or self.shown_px(px, mpp)
        if to == px:
            return ""
        at = f" ({mpp * px / to:.3g} mpp{f', made for {self.mpp:g}' if self.mpp else ''})" if mpp else ""
        return f"{self.name} sees patches of {px} px resampled to {to} px{at}"


def load(name: str, file: str | Path | None = None, sha256: str | None = None) -> Encoder:
    """The encoder of that name. Raises BadInput for an unknown name, a missing or gated file, or a wrong checksum."""
    if name in FILELESS:
        return {"stain-statistics": _stain_statistics, "efficientnet-lite0": _efficientnet, "he-network": _he_network}[
            name
        ]()
    if file is None:
        raise BadInput(_how_to_get(name))
    file = Path(file)
    if not file.exists():
        raise BadInput(f"{file}: no such encoder file. {_how_to_get(name)}")
    if name == "inception":
        return _inception(file, sha256 or INCEPTION_SHA256)
    how = KNOWN.get(name, Known("", mpp=None))  # any other name: a TorchScript file with ImageNet's normalisation
    weights = _checked(file, sha256)
    model = _transformers(file, name) if file.is_dir() else _torchscript(file)
    return Encoder(name, weights, _tokens_encoder(model, how), mpp=how.mpp, size_px=how.size_px, licence=how.licence)


def _how_to_get(name: str) -> str:
    if name == "inception":
        return (
            f"Download {INCEPTION_URL} (sha256 {INCEPTION_SHA256}) and name it in evaluation.encoders:"
            " {name: inception, file: ...}"
        )
    if name in KNOWN:
        how = KNOWN[name]
        gate = f" It is gated: accept its licence at https://huggingface.co/{how.source} first." if how.gated else ""
        return (
            f"The encoder `{name}` ({how.source}, {how.licence}) is not downloaded by this workflow.{gate} Give a local"
            " TorchScript file"
            f", or a folder that the transformers library loads: evaluation.encoders: {{name: {name}, file: ...}}"
        )
    known = ", ".join([*FILELESS, "inception", *KNOWN])
    return f"The encoder `{name}` is not known: give its TorchScript file as `file`, or choose one of {known}"


def _stain_statistics() -> Encoder:
    from histogenesis.metrics.encoders import stain_statistics as module

    source = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()
    return Encoder("stain-statistics", source, module.stain_statistics, turned_alike=True)


def _efficientnet() -> Encoder:
    import torch

    from histogenesis.metrics.encoders import efficientnet_lite as module

    device = _device()
    network, weights = module.load_network().to(device), digest(module.weights_file())
    on_cpu = torch.device(device).type == "cpu"

    def encode(images):
        with torch.inference_mode():
            parts = torch.from_numpy(images).split(module.IN_CACHE if on_cpu else len(images))
            found = [network.features(x.to(device).permute(0, 3, 1, 2).float()) for x in parts]
            return torch.cat(found).float().cpu().numpy()

    return Encoder("efficientnet-lite0", weights, encode, least_px=module.LEAST_PX, licence="Apache-2.0")


def _he_network() -> Encoder:
    from histogenesis.metrics.encoders import he_network as module

    network, file = module.HeNetwork(_device()), module.weights_file()
    weights = hashlib.sha256(file.read_bytes() + file.with_name(file.name + ".data").read_bytes()).hexdigest()
    return Encoder(
        "he-network",
        weights,
        network.features,
        mpp=module.MPP,
        least_px=module.LEAST_PX,
        multiple=module.MULTIPLE,
        licence="MIT",
    )


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's files in order of name."""
    total = hashlib.sha256()
    for part in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            total.update(str(part.relative_to(path)).encode())
        with open(part, "rb") as stream:
            while chunk := stream.read(1 << 20):
                total.update(chunk)
    return total.hexdigest()


def _checked(file: Path, sha256: str | None) -> str:
    found = digest(file)
    if sha256 and found != sha256.lower():
        raise BadInput(
            f"{file}: its sha256 is {found}, not {sha256}: the download is incomplete or another file. Fetch it again, or"
            " correct the checksum in evaluation.encoders"
        )
    return found


def _device():
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _torchscript(file):
    import torch

    try:
        return torch.jit.load(str(file), map_location=_device()).eval()
    except RuntimeError as error:
        first = str(error).strip().splitlines()[0]
        raise BadInput(
            f"{file} is not a TorchScript file ({first}): export the model with torch.jit.trace(...).save(...); pickled weights"
            " are never loaded"
        ) from None


def _inception(file, sha256) -> Encoder:
    """The FID network: TensorFlow's Inception of 2015-12-05 as TorchScript, 2048 features.

    The resize to 299 px is TensorFlow 1's bilinear, ours, bit for bit (resize.tf1_bilinear); the file's own (a grid_sample that
    differs by up to 1e-3) is passed over, by calling `layers` on (x - 128) / 128 where the file has them.
    """
    import torch

    from histogenesis.metrics.encoders.resize import tf1_bilinear

    weights = _checked(file, sha256)
    model, device = _torchscript(file), _device()

    def encode(images):
        with torch.inference_mode():
            x = tf1_bilinear(torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float(), 299, 299)
            out = model.layers((x - 128) / 128) if hasattr(model, "layers") else model(x, return_features=True)
            return out.reshape(len(images), -1).float().cpu().numpy()

    return Encoder("inception", weights, encode, size_px=299, licence="Apache-2.0")


def _transformers(folder, name):
    try:
        from transformers import AutoModel
    except ImportError:
        raise BadInput(
            f"{folder} is a folder of the transformers library, which is not installed: `pip install transformers`, or give the"
            f" encoder `{name}` as a TorchScript file"
        ) from None
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise BadInput(f"{folder} holds no model that transformers can load with safetensors: {error}") from None
    return model.to(_device()).eval()


def _tokens_encoder(model, how: Known):
    """Resize (antialiased bicubic), normalise, run, and pool the answer: (n, d), (n, tokens, d), or transformers' object."""
    import torch

    from histogenesis.metrics.encoders.resize import pil_float

    device = _device()
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (how.mean, how.std))

    def encode(images):
        x = torch.from_numpy(pil_float(images, how.size_px, how.size_px)).to(device).permute(0, 3, 1, 2) / 255
        with torch.inference_mode():
            out = model((x - mean) / std)
        out = getattr(out, "last_hidden_state", out)
        if not isinstance(out, torch.Tensor):
            raise BadInput(
                f"the encoder answers with {type(out).__name__}: a tensor (n, d) or (n, tokens, d) is needed"
            )
        if out.ndim == 3:
            first = out[:, 0]
            out = torch.cat([first, out[:, 1 + how.registers :].mean(1)], 1) if how.pool == "class+mean" else first
        return out.reshape(len(images), -1).float().cpu().numpy()

    return encode
