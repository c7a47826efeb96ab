"""Feature sets and image sets are checked before anything is computed of them."""

from __future__ import annotations

import numpy as np

from histogenesis.core.errors import BadInput


def check_features(features, name: str = "features", least: int = 2) -> np.ndarray:
    """(n, d) float64, finite, at least `least` rows; BadInput says what is wrong and what to do."""
    features = np.asarray(features)
    if features.ndim != 2:
        raise BadInput(f"{name}: features must have shape (images, dimensions), not {features.shape}")
    if len(features) < least:
        raise BadInput(
            f"{name}: {len(features)} images are too few, at least {least} are needed: draw or cut more patches"
        )
    features = features.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise BadInput(
            f"{name}: the features of {len(bad)} of {len(features)} images hold NaN or infinity (first: image {bad[0]}); look"
            " at that image, and run the encoder in float32"
        )
    return features


def check_pair(real, generated, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Two feature sets that can be compared."""
    real = check_features(real, "real images", least)
    generated = check_features(generated, "generated images", least)
    if real.shape[1] != generated.shape[1]:
        raise BadInput(
            f"real features have {real.shape[1]} dimensions and generated ones {generated.shape[1]}: extract both with the same"
            " encoder"
        )
    return real, generated


def check_apart(train, held_out, what: str = "patients") -> None:
    """BadInput when two sets share a patient (or whatever the split keeps together)."""
    shared = sorted(set(map(str, train)) & set(map(str, held_out)))
    if shared:
        some = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
        raise BadInput(
            f"training and held-out images share {len(shared)} {what} ({some}): the floor and the memorisation audit would be"
            f" too kind. Split by patient (split.by: patient) so that no {what[:-1]} is in both"
        )


def as_rgb(images) -> np.ndarray:
    """uint8 (n, h, w, 3) from a list of images or an array.

    Grey images (h, w) or (h, w, 1) are repeated in three channels; alpha is composited on white, as slides are. Raises
    BadInput for mixed sizes and for pixels that are not 8-bit.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[-1] == 3 and images.dtype == np.uint8:
        return images
    ready = [_rgb(np.asarray(image), i) for i, image in enumerate(images)]
    sizes = sorted({image.shape[:2] for image in ready})
    if len(sizes) > 1:
        raise BadInput(
            f"images of {len(sizes)} sizes in one set (height, width: {sizes[0]}, {sizes[1]}, ...): cut all"
            " patches at one size and mpp, since resizing changes the distances"
        )
    return np.stack(ready) if ready else np.zeros((0, 1, 1, 3), np.uint8)


def _rgb(image, i):
    if image.dtype != np.uint8:
        raise BadInput(f"image {i} is of type {image.dtype}: 8-bit images are needed (values 0 to 255)")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4):
        raise BadInput(f"image {i} has shape {image.shape}: (height, width) or (height, width, 1 to 4) is needed")
    if image.shape[-1] in (2, 4):
        alpha = image[..., -1:].astype(np.float32) / 255
        image = np.rint(image[..., :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
