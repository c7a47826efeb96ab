"""Encoders: the reference resize, checksums, what is missing or gated, those that are always there, cached features."""

import hashlib

import numpy as np
import onnx
import onnxruntime
import pytest
import skimage.data
import torch
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.metrics.distances.intervals import group_interval
from histogenesis.metrics.distances.kernel import mmd2, polynomial
from histogenesis.metrics.encoders import features
from histogenesis.metrics.encoders.efficientnet_lite import EfficientNetLite0, load_network
from histogenesis.metrics.encoders.efficientnet_lite import weights_file as efficientnet_file
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.encoders.he_network import HeNetwork, stain_pictures, weights_file
from histogenesis.metrics.encoders.registry import FILELESS, INCEPTION_SHA256, Encoder, load
from histogenesis.metrics.encoders.resize import pil_float, tf1_bilinear
from histogenesis.metrics.encoders.stain_statistics import stain_statistics
from histogenesis.slides.read import open_slide

RNG = np.random.default_rng(2)
NOISE = RNG.integers(0, 256, (10, 24, 24, 3), dtype=np.uint8)


def tissue_like(n, size=32, seed=0, pink=160):
    """Eosin-coloured ground with round, dark nuclei."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    images = np.empty((n, size, size, 3))
    for image in images:
        image[:] = np.array([225, pink, 205]) + rng.normal(0, 6, (size, size, 1))
        for cy, cx, r in zip(rng.uniform(0, size, 9), rng.uniform(0, size, 9), rng.uniform(1.5, 3.5, 9)):
            image[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = (95, 60, 140)
    return (images + rng.normal(0, 4, images.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "out"), [((32, 32), (299, 299)), ((224, 96), (299, 299)), ((400, 341), (299, 299)), ((5, 7), (3, 4))]
)
def test_tf1_bilinear_bit_for_bit(size, out):
    """Against the kernel's loop, float32 operation by operation."""
    image = RNG.integers(0, 256, size).astype(np.float32)
    found = tf1_bilinear(torch.from_numpy(image)[None, None], *out)[0, 0].numpy()
    rng = np.random.default_rng(0)
    for y, x in zip(rng.integers(0, out[0], 300), rng.integers(0, out[1], 300)):
        at_y = np.float32(y) * (np.float32(size[0]) / np.float32(out[0]))
        at_x = np.float32(x) * (np.float32(size[1]) / np.float32(out[1]))
        y0, x0 = int(at_y), int(at_x)
        y1, x1 = min(y0 + 1, size[0] - 1), min(x0 + 1, size[1] - 1)
        dy, dx = at_y - np.float32(y0), at_x - np.float32(x0)
        top = image[y0, x0] + (image[y0, x1] - image[y0, x0]) * dx
        bottom = image[y1, x0] + (image[y1, x1] - image[y1, x0]) * dx
        assert found[y, x] == top + (bottom - top) * dy


def test_tf1_bilinear_is_the_identity_at_the_same_size_and_shifts_like_tensorflow():
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(tf1_bilinear(image, 4, 4), image)
    assert torch.equal(tf1_bilinear(image, 2, 2), image[:, :, ::2, ::2])  # no antialiasing, corners aligned


def test_pil_float():
    assert pil_float(NOISE, 24, 24).dtype == np.float32
    flat = np.full((2, 10, 10, 3), 77, np.uint8)
    np.testing.assert_allclose(pil_float(flat, 33, 21), 77, atol=1e-4)


class TinyInception(torch.nn.Module):
    """The shape of the FID network's file: `layers`, 2048 features, and a resize of its own that must be passed over."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 7, 13), torch.nn.Tanh(), torch.nn.AdaptiveAvgPool2d(16), torch.nn.Flatten()
        )

    def forward(self, x, return_features: bool = False):
        return self.layers(x) * 0


def saved(model, path):
    torch.jit.script(model).save(str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_inception_file(tmp_path):
    path = tmp_path / "inception.pt"
    sha256 = saved(TinyInception(), path)
    with pytest.raises(BadInput, match=f"not {INCEPTION_SHA256}"):
        load("inception", path)  # any other file than the reference's is refused
    encoder = load("inception", path, sha256)
    found = encoder.encode(NOISE)
    x = tf1_bilinear(torch.from_numpy(NOISE).permute(0, 3, 1, 2).float(), 299, 299)
    assert found.shape == (10, 2048)
    np.testing.assert_allclose(found, TinyInception().layers((x - 128) / 128).detach().numpy(), atol=1e-6)
    assert encoder.weights == sha256


def test_torchscript_encoders_are_pooled_as_their_authors_do(tmp_path):
    class Tokens(torch.nn.Module):
        def forward(self, x):
            means = x.mean(dim=(2, 3))
            return torch.stack([means, means * 7, means * 7, means * 7, means * 7, means + 1, means + 3], dim=1)

    saved(Tokens(), tmp_path / "t.pt")
    flat = np.full((2, 9, 9, 3), 255, np.uint8)
    first = load("uni", tmp_path / "t.pt").encode(flat)
    normalised = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(first, np.tile(normalised, (2, 1)), atol=1e-5)
    both = load("virchow2", tmp_path / "t.pt").encode(flat)  # four registers are left out of the mean
    np.testing.assert_allclose(both[0], [*normalised, *(normalised + 2)], atol=1e-5)


def test_missing_gated_and_wrong_files(tmp_path):
    for name, words in {
        "uni": "gated: accept its licence at https://huggingface.co/MahmoodLab/UNI",
        "dinov2": "facebook/dinov2-base",
        "inception": "inception-2015-12-05.pt",
        "midnight-12k": "kaiko-ai/midnight, MIT",
        "unheard-of": "is not known",
    }.items():
        with pytest.raises(BadInput, match=words):
            load(name)
    with pytest.raises(BadInput, match="no such encoder file"):
        load("uni", tmp_path / "absent.pt")
    (tmp_path / "broken.pt").write_bytes(b"not a zip file")
    with pytest.raises(BadInput, match="not a TorchScript file"):
        load("uni", tmp_path / "broken.pt")
    with pytest.raises(BadInput, match="download is incomplete"):
        load("uni", tmp_path / "broken.pt", "0" * 64)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="transformers"):
        load("phikon", tmp_path / "folder")


def test_stain_statistics():
    images = tissue_like(6)
    found = stain_statistics(images)
    assert found.shape == (6, 44)
    assert np.isfinite(stain_statistics(np.full((1, 16, 16, 3), 255, np.uint8))).all()
    assert np.isfinite(stain_statistics(np.zeros((1, 16, 16, 3), np.uint8))).all()
    turned = np.ascontiguousarray(np.rot90(images, axes=(1, 2))[:, :, ::-1])
    np.testing.assert_allclose(stain_statistics(turned), found, atol=1e-5)
    with pytest.raises(BadInput, match="16 px"):
        stain_statistics(images[:, :8, :8])


@pytest.mark.parametrize(("picture", "kind"), [("chelsea", {281, 282, 285}), ("coffee", {967})])  # cats; an espresso
def test_efficientnet_knows_a_cat_from_a_coffee(picture, kind):
    """The architecture is ours, the weights are not: one wrong padding or activation, and ImageNet's classes are lost."""
    image = getattr(skimage.data, picture)()
    side = min(image.shape[:2])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    square = pil_float(image[None, top : top + side, left : left + side], 224, 224)
    with torch.inference_mode():
        share = load_network()(torch.from_numpy(square).permute(0, 3, 1, 2)).softmax(1)[0]
    assert set(share.argsort(descending=True)[:2].tolist()) & kind
    assert sum(share[i] for i in kind) > 0.7


@pytest.mark.parametrize("px", [64, 131])
def test_efficientnet_with_its_normalisations_in_its_convolutions_is_the_same_function(px):
    plain = EfficientNetLite0()
    plain.load_state_dict(torch.load(efficientnet_file(), weights_only=True))
    x = torch.from_numpy(RNG.uniform(0, 255, (2, 3, px, px))).float()
    with torch.inference_mode():
        wanted, found = plain.eval()(x), load_network()(x)
    assert wanted.std() > 0.5
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


@pytest.mark.parametrize("px", [32, 256])
def test_the_he_network_finds_glass_and_answers_as_its_file_does(cmu_slide, px):
    """Glass is lumen to it and tissue is not; onnxruntime, which runs the file itself, gives the same answers."""
    with open_slide(cmu_slide) as slide:
        images = slide.read(600, 600, 256, 1.0)[None, -px:, :px]
    pictures = stain_pictures(images)
    assert pictures.min() >= 0 and pictures.max() <= 1
    network = HeNetwork()
    found, features = network.run(pictures)
    if px == 256:
        glass = images[0].min(axis=-1) > 220
        assert found[0, 0][glass].mean() > 0.8 and found[0, 0][~glass].mean() < 0.4
    model = onnx.load(str(weights_file()))
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("add_634"))  # the last sum of the encoding half
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits, deepest = session.run(None, {"input": pictures})
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-3)
    assert deepest.shape == (1, 128, px // 8, px // 8) and features.std() > 0.1
    np.testing.assert_allclose(features, deepest.mean(axis=(2, 3)), atol=1e-4)
    np.testing.assert_allclose(network.features(images), features, atol=1e-5)


def test_encoders_are_shown_the_mpp_that_they_want():
    he, cat = load("he-network"), load("efficientnet-lite0")
    assert [he.shown_px(64, m) for m in (0.5, 1.0, 2.0, 16.0, None)] == [32, 64, 128, 128, 64]
    assert [cat.shown_px(n, 1.0) for n in (32, 64, 128, 300)] == [128, 128, 128, 300]
    assert he.shown(64, 0.5) == "he-network sees patches of 64 px resampled to 32 px (1 mpp, made for 1)"
    assert he.shown(64, 1.0) == ""
    images = tissue_like(5, 64)
    halved = np.stack([np.asarray(Image.fromarray(i).resize((32, 32), Image.Resampling.BICUBIC)) for i in images])
    mpp = np.array([0.5, 1.0, 0.5, 1.0, np.nan])
    found = features.encode(he, images, batch=2, mpp=mpp)
    np.testing.assert_allclose(found[[0, 2]], he.encode(halved[[0, 2]]), atol=1e-5)
    np.testing.assert_allclose(found[[1, 3, 4]], he.encode(images[[1, 3, 4]]), atol=1e-5)
    assert (he.licence, cat.licence) == ("MIT", "Apache-2.0")
    assert cat.weights == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@pytest.mark.parametrize("name", FILELESS)
def test_built_in_encoders_see_what_is_wrong(name):
    """KID tells restained, blurred and noisy patches from real ones, its interval excluding the floor; good ones hold it."""
    encoder = load(name)
    real, other = (features.encode(encoder, tissue_like(150, seed=s)).astype(float) for s in (10, 11))

    def interval(made):
        value = mmd2(real, made, polynomial)
        found = group_interval(lambda a, b: mmd2(a, b, polynomial), [real, made], value)
        return found.low[0], found.high[0]

    good = tissue_like(150, seed=12)
    blurred = ((good.astype(int) + np.roll(good, 1, 1) + np.roll(good, 1, 2) + np.roll(good, 2, 1)) // 4).astype(
        np.uint8
    )
    noisy = (good + np.random.default_rng(0).normal(0, 40, good.shape)).clip(0, 255).astype(np.uint8)
    floor = mmd2(real, other, polynomial)
    for wrong in (tissue_like(150, seed=12, pink=130), blurred, noisy):
        assert interval(features.encode(encoder, wrong).astype(float))[0] > floor
    low, high = interval(features.encode(encoder, good).astype(float))
    assert low < floor < high


def test_encode_pads_batches_and_repairs_images():
    seen = []

    def count(images):
        seen.append(images.shape)
        return images.reshape(len(images), -1)[:, :5].astype(np.float32)

    encoder = Encoder("count", "0", count)
    out = features.encode(encoder, NOISE, batch=4)
    assert out.shape == (10, 5)
    assert set(seen) == {(4, 24, 24, 3)}
    np.testing.assert_array_equal(out, NOISE.reshape(10, -1)[:, :5])
    assert features.encode(encoder, [NOISE[0, ..., 0], NOISE[1]]).shape == (2, 5)
    real = load("efficientnet-lite0")
    whole = features.encode(real, NOISE, batch=4)
    np.testing.assert_array_equal(features.encode(real, NOISE[:5], batch=4)[:4], whole[:4])
    with pytest.raises(BadInput, match="NaN"):
        features.encode(Encoder("nan", "0", lambda x: np.full((len(x), 3), np.nan)), NOISE)
    with pytest.raises(BadInput, match="no images"):
        features.encode(encoder, NOISE[:0])


def test_eight_views():
    encoder = Encoder("corner", "0", lambda x: x[:, 0, 0].astype(np.float32))
    views = features.encode_views(encoder, NOISE)
    assert views.shape == (8, 10, 3)
    corners = {tuple(NOISE[3, y, x]) for y in (0, -1) for x in (0, -1)}
    assert {tuple(v) for v in views[:, 3].astype(np.uint8)} == corners
    np.testing.assert_array_equal(views[0], NOISE[:, 0, 0])


def test_features_are_cached(tmp_path):
    calls = []

    def encode(images):
        calls.append(1)
        return images.mean(axis=(1, 2)).astype(np.float32)

    images = ImageSet("train", NOISE, np.full(10, 2.0), np.array(["s"] * 10), np.array(["p"] * 10))
    path = tmp_path / "f" / "train.h5"
    first = features.cached(path, Encoder("mean", "w1", encode), images)
    again = features.cached(path, Encoder("mean", "w1", encode), images)
    assert len(calls) == 1
    np.testing.assert_array_equal(first.features, again.features)
    assert (again.name, again.encoder, again.weights) == ("train", "mean", "w1")
    assert again.patient.tolist() == ["p"] * 10
    features.cached(path, Encoder("mean", "w2", encode), images)  # other weights
    assert len(calls) == 2
    changed = NOISE.copy()
    changed[4, 3, 2, 1] ^= 1
    features.cached(
        path, Encoder("mean", "w2", encode), ImageSet("train", changed, images.mpp, images.slide, images.patient)
    )
    assert len(calls) == 3
    one = path.read_bytes()
    path.write_bytes(one[: len(one) // 2])  # cut off: made anew
    features.cached(path, Encoder("mean", "w2", encode), images)
    assert len(calls) == 4
    assert not list(path.parent.glob("*.tmp"))
    path.write_text("no HDF5")
    with pytest.raises(BadInput, match="damaged: HDF5 says"):
        features.load(path)
    with pytest.raises(BadInput, match="no such feature file"):
        features.load(tmp_path / "absent.h5")
