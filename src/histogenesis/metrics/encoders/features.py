"""Feature sets: computed once, kept as HDF5, and taken again only when encoder and images are the same."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import CHUNKED, EMPTY, reading, writing
from histogenesis.metrics.checks import as_rgb, check_features
from histogenesis.metrics.encoders.registry import Encoder
from histogenesis.metrics.encoders.resize import pil_uint8

BATCH = 64


@dataclass(frozen=True)
class ImageSet:
    """Images of one size with where they are from; `mpp` float64, `slide` and `patient` str, all (n,).

    They may be a sample: `of` how many (0: these are all). `label`: the class of each, where there are classes. `xy` (n, 2):
    where each lies on its slide (any one unit), where that is known.
    """

    name: str
    images: np.ndarray
    mpp: np.ndarray
    slide: np.ndarray
    patient: np.ndarray
    of: int = 0
    label: np.ndarray | None = None
    xy: np.ndarray | None = None

    def __len__(self):
        return len(self.images)

    def take(self, rows) -> ImageSet:
        label, xy = (None if v is None else v[rows] for v in (self.label, self.xy))
        return ImageSet(
            self.name, self.images[rows], self.mpp[rows], self.slide[rows], self.patient[rows], self.of, label, xy
        )


@dataclass(frozen=True)
class FeatureSet:
    """features (n, d) float32; digests (n,) of the images; encoder and the sha256 of its weights."""

    name: str
    features: np.ndarray
    encoder: str
    weights: str
    digests: np.ndarray
    mpp: np.ndarray = field(default_factory=lambda: np.zeros(0))
    slide: np.ndarray = field(default_factory=lambda: np.zeros(0, str))
    patient: np.ndarray = field(default_factory=lambda: np.zeros(0, str))

    def __len__(self):
        return len(self.features)


def image_digests(images: np.ndarray) -> np.ndarray:
    """A digest of each image's size and pixels, as 32 hexadecimal digits, (n,)."""
    size = str(images.shape[1:]).encode()
    return np.array(
        [hashlib.blake2b(size + np.ascontiguousarray(i).tobytes(), digest_size=16).hexdigest() for i in images],
        dtype="S32",
    )


def encode(encoder: Encoder, images, batch: int = BATCH, progress: bool = False, mpp=None) -> np.ndarray:
    """(n, d) float32. Every batch is padded to the same shape, so that a feature does not depend on its neighbours.

    mpp: of each image (n,), or of all: an encoder that wants another is shown them resampled (Encoder.shown says how); None
    or NaN: not known, taken as they are. Grey and alpha images are made RGB. Raises BadInput for mixed sizes and for features
    that are not finite.
    """
    images = as_rgb(images)
    if not len(images):
        raise BadInput("there are no images to encode: cut or draw some patches first")
    mpp = np.nan_to_num(np.broadcast_to(np.asarray(0.0 if mpp is None else mpp, np.float64), len(images)))
    features = None
    with tqdm(total=len(images), desc=encoder.name, unit="patch", disable=not progress) as bar:
        for value in np.unique(mpp):
            rows = np.flatnonzero(mpp == value)
            sides = [encoder.shown_px(side, value) for side in images.shape[1:3]]
            for start in range(0, len(rows), batch):
                at = rows[start : start + batch]
                part = pil_uint8(images[np.pad(at, (0, batch - len(at)), "edge")], *sides)
                found = np.asarray(encoder.encode(part), np.float32)[: len(at)]
                features = np.empty((len(images), found.shape[1]), np.float32) if features is None else features
                features[at] = found
                bar.update(len(at))
    check_features(features, f"{encoder.name}: features", least=1)
    return features


def encode_views(encoder: Encoder, images, batch: int = BATCH, mpp=None) -> np.ndarray:
    """(8, n, d): the features of each image in its eight orientations; the first is the image as it is."""
    images = as_rgb(images)
    turned = [np.rot90(images, turn, axes=(1, 2)) for turn in range(4)]
    if images.shape[1] != images.shape[2]:
        turned = turned[::2]
    views = [np.ascontiguousarray(v) for t in turned for v in (t, t[:, :, ::-1])]
    return np.stack([encode(encoder, view, batch, mpp=mpp) for view in views])


def cached(path: Path, encoder: Encoder, images: ImageSet, batch: int = BATCH, progress: bool = False) -> FeatureSet:
    """The features of `images`, from `path` where it holds just these, computed and written there otherwise."""
    path = Path(path)
    digests = image_digests(images.images)
    if path.is_file():
        try:
            old = load(path)
        except BadInput:
            old = None  # cut off or of another kind: made anew
        if (
            old
            and (old.encoder, old.weights) == (encoder.name, encoder.weights)
            and np.array_equal(old.digests, digests)
            and np.array_equal(old.mpp, images.mpp, equal_nan=True)
        ):
            return old
    features = encode(encoder, images.images, batch, progress, images.mpp)
    feature_set = FeatureSet(
        images.name, features, encoder.name, encoder.weights, digests, images.mpp, images.slide, images.patient
    )
    save(path, feature_set)
    return feature_set


def save(path: Path, features: FeatureSet) -> None:
    with writing(path) as file:
        columns = {
            "features": np.asarray(features.features, np.float32),
            "digests": features.digests,
            "mpp": np.asarray(features.mpp, np.float64),
            "slide": np.asarray(features.slide).astype("S"),
            "patient": np.asarray(features.patient).astype("S"),
        }
        for name, values in columns.items():
            file.create_dataset(name, data=values, **(CHUNKED if np.size(values) else EMPTY))
        file.attrs.update({"set": features.name, "encoder": features.encoder, "weights_sha256": features.weights})
        if torch := sys.modules.get("torch"):  # an encoder that is a network; statistics of stain need none
            from histogenesis.core.device import computed_on

            file.attrs.update(computed_on("cuda" if torch.cuda.is_available() else "cpu"))


def load(path: Path) -> FeatureSet:
    """Raises BadInput for a file that holds no feature set."""
    path = Path(path)
    try:
        with reading(path) as file:
            return FeatureSet(
                str(file.attrs["set"]),
                file["features"][:],
                str(file.attrs["encoder"]),
                str(file.attrs["weights_sha256"]),
                file["digests"][:],
                file["mpp"][:],
                file["slide"][:].astype(str),
                file["patient"][:].astype(str),
            )
    except FileNotFoundError:
        raise BadInput(f"{path}: no such feature file; extract the features first") from None
    except (KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # a true I/O error, which may pass
            raise
        raise BadInput(
            f"{path} is not a feature file ({error}): delete it, and the features are extracted anew"
        ) from None
