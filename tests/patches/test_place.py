"""Where patches are cut."""

import numpy as np
import pytest

from histogenesis.patches.place import TissueShare, place_patches

SCALE = 8.0  # slide pixels per mask pixel
SIZE_PX = (1600, 1200)


@pytest.fixture
def mask():
    """Tissue in a disk and a small square, 150 x 200 at 4 mpp, of a slide of 0.5 mpp."""
    y, x = np.mgrid[:150, :200]
    found = np.hypot(y - 70, x - 80) < 45
    found[130:136, 180:186] = True
    return found


def place(mask, **changes):
    options = {"patch_px": 64, "mpp": 1.0, "per_slide": 200, "seed": 3, "slide": "a"} | changes
    return place_patches(mask, 4.0, 0.5, SIZE_PX, **options)


def brute_share(mask, x, y, side):
    """Tissue share by counting slide pixels."""
    full = np.kron(mask, np.ones((int(SCALE), int(SCALE))))
    return full[y : y + side, x : x + side].mean()


@pytest.mark.parametrize("placement", ["random", "grid"])
@pytest.mark.parametrize("mpp, min_tissue", [(0.5, 0.1), (1.0, 0.5), (1.3, 0.9), (4.0, 0.1)])
def test_places_hold_what_they_promise(mask, placement, mpp, min_tissue):
    coords, share = place(mask, mpp=mpp, min_tissue=min_tissue, placement=placement)
    side = 64 * mpp / 0.5
    assert 0 < len(coords) <= 200
    assert coords.dtype == np.int64
    assert share.dtype == np.float32
    assert (coords >= 0).all()
    assert (coords + side <= np.array(SIZE_PX) + 1e-6).all()
    assert len(np.unique(coords, axis=0)) == len(coords)
    assert (share >= min_tissue - 1e-6).all()
    if side == int(side):
        for (x, y), value in list(zip(coords, share))[::17]:
            assert value == pytest.approx(brute_share(mask, x, y, int(side)), abs=1e-5)


def test_grid_does_not_overlap_and_misses_nothing(mask):
    """Beside one another, also for a side that is no whole number; every cell with enough tissue is there."""
    coords, _ = place(np.ones_like(mask), mpp=0.77, placement="grid", per_slide=10_000)
    side = 64 * 0.77 / 0.5
    for axis in (0, 1):
        steps = np.diff(np.unique(coords[:, axis]))
        assert (steps >= side).all() and (steps < side + 1).all()
    assert len(coords) == (1600 // np.ceil(side)) * (1200 // np.ceil(side))


def test_same_seed_same_places(mask):
    first, second = place(mask)[0], place(mask)[0]
    assert np.array_equal(first, second)
    for change in ({"seed": 4}, {"slide": "b"}, {"mpp": 1.0001}):
        assert not np.array_equal(first, place(mask, **change)[0])


def test_other_mpps_do_not_matter(mask):
    """Places at one mpp depend on nothing else of the patch set: a pinned value, so that a recipe keeps its patches."""
    coords, _ = place(mask, per_slide=3)
    assert coords.tolist() == PINNED


PINNED = [[529, 496], [437, 500], [600, 722]]


def test_little_tissue_is_found():
    """One speck on a large slide, too small to be hit by chance."""
    speck = np.zeros((2000, 2000), bool)
    speck[777:780, 1234:1237] = True
    coords, share = place_patches(speck, 4.0, 0.5, (16000, 16000), 16, 0.5, min_tissue=0.5, per_slide=20)
    assert len(coords) == 20
    assert (share >= 0.5).all()


def test_random_places_are_spread_evenly(mask):
    """Over tissue everywhere, the mean place is the middle, and every quarter gets its share."""
    coords, _ = place(np.ones_like(mask), per_slide=2000, mpp=0.5)
    last = np.array(SIZE_PX) - 64
    assert np.abs(coords.mean(axis=0) / last - 0.5).max() < 0.03
    counts = np.histogram2d(*(coords / last).T, bins=2)[0]
    assert counts.min() > 420


@pytest.mark.parametrize("placement", ["random", "grid"])
def test_small_or_empty_slides_give_none(mask, placement):
    for coords, share in (
        place(mask, mpp=10.0, placement=placement),  # a patch of 1280 px on 1200
        place(np.zeros_like(mask), placement=placement),
        place(mask, min_tissue=1.0, mpp=8.0, placement=placement),
    ):
        assert coords.shape == (0, 2)
        assert share.shape == (0,)


def test_a_slide_of_one_patch(mask):
    """Just as large as a patch: the one place, once."""
    coords, share = place_patches(np.ones((8, 8), bool), 4.0, 0.5, (64, 64), 64, 0.5)
    assert coords.tolist() == [[0, 0]]
    assert share.tolist() == [1.0]


def test_without_a_least_share_there_is_still_some_tissue(mask):
    assert (place(mask, min_tissue=0.0)[1] > 0).all()


def test_share_is_exact_between_pixels():
    share = TissueShare(np.array([[True, False], [False, False]]), 10.0)
    assert share(np.array(5.0), np.array(0.0), 10.0) == pytest.approx(0.5)
    assert share(np.array(5.0), np.array(5.0), 10.0) == pytest.approx(0.25)
    assert share(np.array(0.0), np.array(0.0), 20.0) == pytest.approx(0.25)
