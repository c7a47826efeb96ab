"""Pieces of training patches are found wherever they lie, and honest patches, blurred or noisy ones too, are cleared."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from histogenesis.metrics.memorisation.audit import audit_pieces
from histogenesis.metrics.memorisation.copies import Windows, align
from histogenesis.slides.read import open_slide

SIZE, MPP = 32, 2


@pytest.fixture(scope="module")
def tissue(cmu_slide):
    with open_slide(cmu_slide) as slide:
        shape = int(slide.height_px * slide.mpp / MPP) - 1, int(slide.width_px * slide.mpp / MPP) - 1
        return slide.read(0, 0, shape, MPP)


def crops(picture, n, seed, size=SIZE):
    """Random places with some tissue."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(50 * n):
        y, x = (rng.integers(0, side - size + 1) for side in picture.shape[:2])
        crop = picture[y : y + size, x : x + size]
        if (crop.mean(axis=-1) < 225).mean() > 0.3:
            out.append(crop)
    return np.stack(out[:n])


def turned(images, seed=0):
    which = np.random.default_rng(seed).integers(8, size=len(images))
    return np.stack([np.rot90(image, w % 4)[:, :: 1 - 2 * (w // 4)] for image, w in zip(images, which)])


def noisy(images, spread=5):
    return (images + np.random.default_rng(1).normal(0, spread, images.shape)).clip(0, 255).astype(np.uint8)


def blurred(images, px):
    return np.stack([gaussian_filter(image, (px, px, 0)) for image in images])


def compressed(images, quality=60):
    out = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        out.append(np.asarray(Image.open(file)))
    return np.stack(out)


@pytest.fixture(scope="module")
def searched(tissue):
    """The left half trains; held-out and honest patches are from the right half's upper and lower parts."""
    half, middle = tissue.shape[1] // 2, tissue.shape[0] // 2
    train = crops(tissue[:, :half], 300, 0)
    windows = Windows(train)
    held_out = windows.match(crops(tissue[:middle, half:], 150, 1))
    assert not held_out.plain.all()
    return train, windows, held_out, crops(tissue[:, :half], 150, 2), crops(tissue[middle:, half:], 150, 3)


def verdict(searched, images):
    train, windows, held_out, *_ = searched
    found = windows.match(images)
    return audit_pieces(held_out.surprise, found.surprise, len(train), len(train))


def test_copies_of_every_kind_are_caught(searched):
    """Exact; and cut at other places than the training patches were, turned, and worn in several ways."""
    train, _, _, shifted, _ = searched
    for copies in (
        train[:150],
        shifted,
        noisy(turned(shifted)),
        compressed(turned(shifted)),
        blurred(shifted, 1),
        (255 - (255 - turned(shifted)) * np.array([0.8, 1.1, 0.9])).clip(0, 255).astype(np.uint8),  # restained
    ):
        found = verdict(searched, copies)
        assert found["verdict"] == "copies"
        assert found["absolute"]["fraction"] > 0.5
        assert found["absolute"]["p_value"] < 1e-6


def test_one_in_ten_is_caught_and_a_single_copy_is_shown(searched):
    train, windows, _, _, honest = searched
    some = honest.copy()
    some[:15] = noisy(turned(train[:15]))
    assert verdict(searched, some)["verdict"] == "copies"
    found = windows.match(some)
    best = np.argsort(-found.surprise)[:10]
    assert (best < 15).all()
    assert np.array_equal(found.train[best], best)
    some[1:15] = honest[1:15]
    assert verdict(searched, some)["verdict"] == "suspect"


def test_a_model_that_draws_one_picture_is_caught(searched):
    train = searched[0]
    assert verdict(searched, np.repeat(noisy(turned(train[4:5])), 60, axis=0))["verdict"] == "copies"


def test_honest_patches_are_cleared_however_sharp(searched):
    honest = searched[-1]
    smooth = np.random.default_rng(0).normal(size=(150, SIZE, SIZE))
    smooth = np.stack([gaussian_filter(s, 3) for s in smooth])
    smooth = (np.array([200, 140, 190]) + 30 * smooth[..., None] / smooth.std()).clip(0, 255).astype(np.uint8)
    for images in (
        honest,
        noisy(honest, 10),
        noisy(blurred(honest, 2)),
        *(blurred(honest, px) for px in (1, 2, 4)),
        smooth,
    ):
        assert verdict(searched, images)["verdict"] == "clear"


def test_false_alarms_are_as_rare_as_promised(searched, tissue):
    """Held-out and generated patches of one region, 100 times: "copies" once in 1,000, p-values no smaller than uniform."""
    windows = searched[1]
    pool = windows.match(crops(tissue[:, tissue.shape[1] // 2 :], 900, 4)).surprise
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        drawn = rng.choice(pool, 240, replace=False)
        found.append(audit_pieces(drawn[:120], drawn[120:], 300, 300))
    assert sum(f["verdict"] == "copies" for f in found) == 0
    assert sum(f["verdict"] == "suspect" for f in found) <= 5
    assert np.mean([f["absolute"]["p_value"] <= 0.05 for f in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)


def test_large_patches_and_odd_sizes(tissue):
    """Patches over 32 px are averaged down; the search costs as much and still finds pieces."""
    y, x = (side // 2 for side in tissue.shape[:2])
    for size in (72, 27):
        region, elsewhere = tissue[y : y + 5 * size, x - 2 * size : x + 3 * size], tissue[:y]
        windows = Windows(crops(region, 80, 0, size))
        copies = windows.match(noisy(turned(crops(region, 60, 2, size))))
        honest = windows.match(crops(elsewhere, 60, 1, size))
        assert (copies.surprise > 3).mean() > 0.4
        assert honest.surprise.max() < 3


def test_plain_patches_are_left_out():
    rng = np.random.default_rng(0)
    plain = (240 + rng.normal(0, 1, (30, 32, 32, 3))).astype(np.uint8)
    assert Windows(plain).match(plain).plain.all()
    textured = noisy(plain, 60)
    found = Windows(textured).match(np.concatenate([plain, textured]))
    assert found.plain.tolist() == [True] * 30 + [False] * 30
    assert found.surprise[:30].max() < 0
    few = audit_pieces(np.zeros(3), np.zeros(200), 30, 30)
    assert few["verdict"] == "not measured"
    assert "3 held-out" in few["sentence"]


def test_what_was_not_searched_is_said():
    rng = np.random.default_rng(0)
    found = audit_pieces(rng.normal(-4, 1, 100), rng.normal(-4, 1, 100), 1000, 48_000)
    assert found["verdict"] == "clear"
    assert "1,000 of 48,000 training patches" in found["sentence"]


@pytest.mark.parametrize("size", [32, 64])
def test_the_training_patch_is_laid_under_its_copy(tissue, size):
    """Shifted by (8, 4) and turned: laid again, the training patch shows what the copy shows."""
    picture = crops(tissue[:, :500], 1, 5, size + 8)[0]
    train, copy = np.rot90(picture[:size, :size])[:, ::-1], picture[8 : 8 + size, 4 : 4 + size]
    laid, correlation = align(copy, train, 0)
    assert correlation > 0.99
    assert np.array_equal(laid[: size - 8, : size - 4], copy[: size - 8, : size - 4])
    assert (laid[size - 8 :] == 255).all()
