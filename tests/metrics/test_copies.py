"""Pieces of training patches are found wherever they lie, and honest patches, blurred or noisy ones too, are cleared."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, rotate

from histogenesis.metrics.memorisation import windows
from histogenesis.metrics.memorisation.audit import audit_pieces, lone_from, power_of
from histogenesis.metrics.memorisation.copies import Search, align
from histogenesis.metrics.memorisation.evidence import evidence, spread, together
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


def zoomed(picture, n, seed, by, size=SIZE):
    """Crops of another size, brought to `size` px."""
    return np.stack(
        [np.asarray(Image.fromarray(c).resize((size, size), 3)) for c in crops(picture, n, seed, round(size / by))]
    )


def enlarged(image, by):
    """The middle of an image, brought to its size."""
    side = round(len(image) / by)
    edge = (len(image) - side) // 2
    return np.asarray(Image.fromarray(image[edge : edge + side, edge : edge + side]).resize(image.shape[1::-1], 3))


@pytest.fixture(scope="module")
def matched(tissue):
    """The left half trains, every 16 px of it; held-out and honest patches are from the right half's upper and lower parts.
    One search of all that the tests ask for: name -> Match."""
    half, middle = tissue.shape[1] // 2, tissue.shape[0] // 2
    left = tissue[:, :half]
    places = [(y, x) for y in range(0, left.shape[0] - 31, 16) for x in range(0, half - 31, 16)]
    train = np.stack([left[y : y + 32, x : x + 32] for y, x in places])
    kept = (train.mean(axis=-1) < 225).mean(axis=(1, 2)) > 0.3
    train, places = train[kept], np.array(places)[kept]
    assert len(train) > 200
    search, shifted = Search(train), crops(left, 40, 2)
    full = np.flatnonzero((train.mean(axis=-1) < 225).mean(axis=(1, 2)) > 0.9)[:40]
    honest = crops(tissue[middle:, half:], 100, 3)
    sets = {
        "exact": turned(train[:40]),
        "shifted": shifted,
        "noisy": noisy(turned(shifted)),
        "compressed": compressed(turned(shifted)),
        "restained": (255 - (255 - turned(shifted)) * np.array([0.8, 1.1, 0.9])).clip(0, 255).astype(np.uint8),
        "blended": (0.7 * train[:40] + 0.3 * honest[:40]).astype(np.uint8),
        "zoomed": zoomed(left, 40, 5, 1.2),
        "zoomed a little": np.stack([enlarged(one, 1.1) for one in train[full]]),
        "rotated": rotate(train[full], 5, (1, 2), False, order=1, mode="reflect"),
        "blurred": blurred(train[full], 1),
    }
    made = search.queries(honest)
    queries = {"held out": search.queries(crops(tissue[:middle, half:], 100, 1)), "honest": made}
    queries |= {name: search.queries(images, like=made) for name, images in sets.items()}
    found = dict(zip(queries, search.match(train.__getitem__, len(train), list(queries.values()))))
    return found | {"train": train, "places": places, "full": full}


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("exact", 1),
        ("shifted", 0.9),
        ("noisy", 0.9),
        ("compressed", 0.8),
        ("restained", 0.9),
        ("blended", 0.7),
        ("zoomed", 0.7),
        ("zoomed a little", 0.7),
        ("rotated", 0.2),
        ("blurred", 0.5),
    ],
)
def test_copies_of_every_kind_stand_alone(matched, kind, least):
    """More surprising than any held-out patch tenfold: the share of single copies that are a finding by themselves."""
    limit = lone_from(matched["held out"].surprise, 100)
    assert (matched[kind].surprise > limit).mean() >= least
    assert not (matched["honest"].surprise > limit).any()


def test_the_patch_that_was_copied_is_named(matched):
    """Training patches overlap by half, so a quarter lies in up to four: the named one holds it. In all four quarters together
    a patch is found in itself alone."""
    train, found, places = matched["train"], matched["exact"], matched["places"]
    for copy, i, quarter in zip(turned(train[:40]), found.train, found.quarter):
        assert align(copy, train[i], quarter)[1] > 0.999
    assert np.abs(places[found.train] - places[:40]).max() <= SIZE // 2
    full, sure = matched["full"], matched["blurred"].surprise > 5
    assert sure.sum() > 20
    apart = np.abs(places[matched["blurred"].train[sure]] - places[full[sure]]).max(axis=1)
    assert (apart == 0).mean() > 0.7 and apart.max() <= SIZE // 2
    assert (matched["zoomed"].scale[matched["zoomed"].surprise > 5] > 1).all()


def test_one_copy_in_a_hundred_is_caught_and_the_power_says_so(matched):
    held_out, honest, copies = (matched[name].surprise for name in ("held out", "honest", "noisy"))
    some = np.concatenate([honest[:99], copies.max()[None]])
    found = audit_pieces(held_out, some, 300, 300, planted=copies)
    assert found["verdict"] == "suspect" and found["lone"] == 1
    clear = audit_pieces(held_out, honest, 300, 300, planted=matched["exact"].surprise)
    assert clear["verdict"] == "clear"
    assert (
        "in all 300 training patches; copies of 1 in 100 patches would have been found with 100 %" in clear["sentence"]
    )
    half = np.where(np.arange(40) < 20, copies, -9.0)  # half of such copies show nothing
    power = power_of(held_out, honest, half)
    caught = (half > lone_from(held_out, 100)).mean()
    assert power["low"] <= caught <= power["high"]
    blind = audit_pieces(held_out, honest, 300, 300, planted=np.full(40, -9.0))
    assert blind["verdict"] == "not measured" and "1 in 100 would have been found in 0 % of trials" in blind["sentence"]


def test_a_copier_is_never_clear_however_little_was_searched(matched):
    """All generated patches are training patches, but only a thousandth of them was searched: not measured, not green."""
    held_out, honest = matched["held out"].surprise, matched["honest"].surprise
    found = audit_pieces(held_out, honest, 350, 400_000, planted=matched["exact"].surprise)
    assert found["verdict"] == "not measured"
    assert "Only 350 of 400,000 training patches were searched" in found["sentence"]
    assert audit_pieces(held_out, matched["exact"].surprise, 350, 400_000)["verdict"] == "copies"


def test_a_copy_between_two_pixels_of_the_small_pictures_is_found_half_a_pixel_further(cmu_slide):
    """Patches of 64 px are averaged to 32: copies that are shifted by 7 px lie between their pixels. Half a pixel further the
    same pixels are averaged as in a copy that is shifted by 8, so that a quarter of both is the training patch's own."""
    with open_slide(cmu_slide) as slide:
        picture = slide.read(0, 0, (1400, 1100), 1)
    large = crops(picture, 60, 4, 80)
    train = large[:, :64, :64]
    search = Search(train)
    queries = [search.queries(turned(large[:, by : by + 64, by : by + 64])) for by in (8, 7)]
    even, odd = search.match(train.__getitem__, len(train), queries)
    assert np.median(even.surprise) > 5
    assert np.median(odd.surprise) > 0.9 * np.median(even.surprise)


def test_honest_patches_are_never_taken_for_copies_however_sharp(matched, tissue):
    half, middle = tissue.shape[1] // 2, tissue.shape[0] // 2
    honest = crops(tissue[middle:, half:], 40, 8)
    smooth = np.stack([gaussian_filter(s, 3) for s in np.random.default_rng(0).normal(size=(40, SIZE, SIZE))])
    smooth = (np.array([200, 140, 190]) + 30 * smooth[..., None] / smooth.std()).clip(0, 255).astype(np.uint8)
    search = Search(matched["train"])
    sets = [search.queries(images) for images in (noisy(honest, 10), noisy(honest, 20), blurred(honest, 2), smooth)]
    for match in search.match(matched["train"].__getitem__, len(matched["train"]), sets):
        assert not (match.surprise > lone_from(matched["held out"].surprise, 100)).any()


def test_a_corner_of_tissue_on_glass_is_like_many_others_and_no_evidence():
    """Two windows of noise that share three dark pixels of 256: in any other basis many components, and yet three pixels."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (2, 1, 256))
    a[0, :3] = b[0, :3] = -40
    basis = np.linalg.qr(rng.normal(size=(256, 256)))[0]
    assert evidence(a @ basis, b @ basis, np.full(1, 256.0), np.full(1, 256.0)) > 50
    assert evidence(a @ basis, b @ basis, spread(a), spread(b)) < 15  # 3 / 2 of -log(1 - 0.9999^2) = 8.5 at most
    assert spread(np.array([[1.0, 1.0, -1.0, 0.0]])) == 3


def test_quarters_together_say_no_more_than_chance_of_independent_windows():
    """Uniform chances of 5 windows of each quarter with 50 windows: the sum's tail is that of four exponentials at most."""
    rng, quarter = np.random.default_rng(1), np.arange(4).repeat(5)
    values = [together(rng.exponential(size=(20, 50)), quarter)[0] for _ in range(2000)]
    for level in (6.0, 9.0, 12.0):
        assert np.mean(np.array(values) > level) <= np.exp(-level) * (1 + level + level**2 / 2 + level**3 / 6)
    found = np.zeros((20, 50))
    found[3, 7], found[12, 9] = 30.0, 20.0  # of quarters 0 and 2; three components' sizes are tried
    assert together(found, quarter) == (pytest.approx(50 - 2 * np.log(3 * 5 * 50)), 3)


def test_false_alarms_are_as_rare_as_promised():
    """Surprises of one distribution, 200 times: "copies" in fewer than 1 of 1,000, p-values no smaller than uniform."""
    rng = np.random.default_rng(0)
    found = [audit_pieces(*rng.gumbel(0.5, 0.43, (2, 120)), 300, 300) for _ in range(200)]
    assert sum(f["verdict"] == "copies" for f in found) <= 1
    assert sum(f["verdict"] == "suspect" for f in found) <= 6
    assert np.mean([f["absolute"]["p_value"] <= 0.05 for f in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


THREADS = """
import sys, numpy as np
from histogenesis.metrics.memorisation.copies import Search
rng = np.random.default_rng(0)
images = rng.integers(0, 255, (60, 16, 16, 3), dtype=np.uint8)
search = Search(images)
(found,) = search.match(images.__getitem__, len(images), [search.queries(np.ascontiguousarray(images[:30, ::-1]))])
print(found.surprise.tolist(), found.train.tolist(), found.quarter.tolist(), len(search.basis.spread))
"""


def test_no_number_of_threads_changes_a_pair():
    """16 px patches: windows of 8 px, whose mean and spread are taken away; the components that hold nothing are left out."""
    found = [
        subprocess.run(
            [sys.executable, "-c", THREADS],
            env=os.environ | {"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n in "12"
    ]
    assert found[0] == found[1]
    assert found[0].split()[-1] == "63"


def test_null_components_of_small_windows_are_left_out():
    pictures = np.random.default_rng(0).normal(128, 40, (50, 16, 16)).astype(np.float32)
    basis = windows.Basis(pictures)
    assert basis.components.shape == (64, 63)
    assert basis.spread.min() > 0.01 * basis.spread.max()


def test_plain_patches_are_left_out():
    rng = np.random.default_rng(0)
    plain = (240 + rng.normal(0, 1, (30, 32, 32, 3))).astype(np.uint8)
    search = Search(plain)
    assert search.match(plain.__getitem__, len(plain), [search.queries(plain)])[0].plain.all()
    few = audit_pieces(np.zeros(3), np.zeros(200), 30, 30)
    assert few["verdict"] == "not measured"
    assert "3 held-out" in few["sentence"]


@pytest.mark.parametrize("size", [32, 64])
def test_the_training_patch_is_laid_under_its_copy(tissue, size):
    """Shifted by (8, 4) and turned: laid again, the training patch shows what the copy shows."""
    picture = crops(tissue[:, :500], 1, 5, size + 8)[0]
    train, copy = np.rot90(picture[:size, :size])[:, ::-1], picture[8 : 8 + size, 4 : 4 + size]
    laid, correlation = align(copy, train, 0)
    assert correlation > 0.99
    assert np.array_equal(laid[: size - 8, : size - 4], copy[: size - 8, : size - 4])
    assert (laid[size - 8 :] == 255).all()
