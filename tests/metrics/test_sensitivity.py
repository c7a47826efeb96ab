"""What distortions keep and take away, and whether each encoder that is always there sees them on real tissue."""

import csv

import numpy as np
import pytest
from PIL import Image

from histogenesis.evaluation.sensitivity import sensitivity
from histogenesis.metrics.encoders.registry import Encoder, load
from histogenesis.metrics.sensitivity import DISTORTIONS, distorted, jpeg, phase
from histogenesis.slides.read import open_slide

N = 60


@pytest.fixture(scope="module")
def cmu(cmu_slide):
    """Real patches of 64 px at 1 mpp with tissue: the left and the right half of one slide, 60 each."""
    with open_slide(cmu_slide) as slide:
        whole = slide.overview(1.0)
    sides = []
    for part in np.array_split(whole, 2, axis=1):
        at = [(y, x) for y in range(0, part.shape[0] - 64, 40) for x in range(0, part.shape[1] - 64, 40)]
        patches = np.stack([part[y : y + 64, x : x + 64] for y, x in at])
        tissue = (patches.min(axis=-1) < 200).mean(axis=(1, 2)) > 0.5
        rows = np.flatnonzero(tissue)
        sides.append(patches[rows[np.linspace(0, len(rows) - 1, N).round().astype(int)]])
    return sides


def spectrum(image):
    return np.abs(np.fft.rfft2(image.astype(float), axes=(0, 1)))


def test_phase_noise_keeps_colours_exactly_and_the_spectrum_nearly(cmu):
    real = cmu[0][:10]
    made = phase(real, np.random.default_rng(0))
    for a, b in zip(real, made):
        for c in range(3):
            np.testing.assert_array_equal(np.sort(a[..., c].ravel()), np.sort(b[..., c].ravel()))
        power = [np.log(spectrum(i)[1:20, 1:20] + 1).ravel() for i in (a, b)]
        assert np.corrcoef(*power)[0, 1] > 0.5
        channels = [np.corrcoef(i.reshape(-1, 3).T)[0, 1:] for i in (a, b)]
        np.testing.assert_allclose(*channels, atol=0.25)
    assert abs(np.corrcoef(real.ravel().astype(float), made.ravel())[0, 1]) < 0.8


def test_distortions_are_a_function_of_images_and_seed(cmu):
    real = cmu[0][:6]
    for name in DISTORTIONS:
        made = distorted(name, real, 3)
        assert made.shape == real.shape and made.dtype == np.uint8
        assert not np.array_equal(made, real)
        np.testing.assert_array_equal(made, distorted(name, real, 3))
    shuffled = distorted("blocks", real)
    np.testing.assert_array_equal(np.sort(shuffled.ravel()), np.sort(real.ravel()))
    assert len({i.tobytes() for i in distorted("collapse", np.concatenate([real] * 4))}) <= 8 * len(real)


def test_jpeg_is_that_of_pillow(cmu, tmp_path):
    Image.fromarray(cmu[0][0]).save(tmp_path / "a.jpg", quality=50, subsampling=0)
    expected = np.asarray(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(jpeg(cmu[0][:1], quality=50, subsampling=0)[0], expected)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "he-network"])
def test_the_networks_tell_structureless_noise_from_tissue(name, cmu):
    found = sensitivity(load(name), *cmu, mpp=1.0)
    assert found["speaks"]["distance"], found["why"]


def test_stain_statistics_see_sharpness_and_colour_and_no_structure(cmu):
    found = sensitivity(load("stain-statistics"), *cmu, mpp=1.0)
    assert found["speaks"] == {"distance": False, "manifold": False}
    for name in ("blur", "noise", "mosaic", "bicubic", "colour", "jpeg"):
        assert "kid" in found["distortions"][name]["sees"], name
    assert "phase" in found["why"]


def test_an_encoder_of_colours_alone_does_not_speak(cmu):
    """Mean and spread of each channel: phase noise keeps both exactly."""

    def colours(images):
        return np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1).astype(np.float32) / 64

    found = sensitivity(Encoder("colours", "0", colours), *cmu, mpp=1.0)
    assert found["speaks"] == {"distance": False, "manifold": False}
    assert "phase" in found["why"]
    assert "kid" in found["distortions"]["colour"]["sees"]


def test_structure_is_seen_in_colon(test_data):
    """EfficientNet on real colon patches, one of each group of turned copies: what the eye sees at once, it sees."""
    folder = test_data / "patches/lc25000_colon_224"
    one_of_each = {}
    with open(folder / "labels.csv") as file:
        for row in csv.DictReader(file):
            one_of_each.setdefault((row["class"], row["tile_group"]), folder / row["class"] / row["file"])
    images = np.stack([np.asarray(Image.open(f).convert("RGB"))[:128, :128] for f in list(one_of_each.values())])
    found = sensitivity(load("efficientnet-lite0"), images[::2][:N], images[1::2][:N], mpp=None)
    assert found["speaks"] == {"distance": True, "manifold": True}, found["why"]
    for name in ("blur", "noise", "phase", "speckle", "blocks", "mosaic", "bicubic", "jpeg", "repeats"):
        assert "kid" in found["distortions"][name]["sees"], name
    assert "recall" in found["distortions"]["collapse"]["sees"]
    assert found["distortions"]["copies"]["sees"] == ["nearest"]
