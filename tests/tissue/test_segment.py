"""Tissue masks: against a phantom's known mask, on real slides and tiles, and at the edges of what can be split."""

import numpy as np
import pytest
from PIL import Image

from histogenesis.phantom.render import Painter
from histogenesis.phantom.slide import tissue_mask
from histogenesis.recipe import Phantom
from histogenesis.slides.read import open_slide
from histogenesis.tissue.fesi import background_of, fesi, near_seeds, opened
from histogenesis.tissue.segment import resized, segment, segment_coarse
from histogenesis.tissue.stain import GLASS, pen_marks

MPP = 8.0


def iou(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


def shrunk(picture, factor):
    height, width = (round(n / factor) for n in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def phantom():
    """A phantom's picture at 8 mpp, and its tissue."""
    options = Phantom(name="p", seed=1, mpp=MPP, width_mm=3.2, height_mm=2.4)
    return Painter(options).rgb(0, 0, 300, 400), tissue_mask(options, MPP)


@pytest.mark.parametrize("method, least", [("fesi", 0.93), ("fesi-improved", 0.93), ("otsu", 0.93), ("histolab", 0.85)])
def test_phantom_is_found(phantom, method, least):
    picture, truth = phantom
    found = segment(picture, MPP, method)
    assert iou(found.mask, truth) > least
    assert np.abs(found.background.astype(int) - np.median(picture[~truth], axis=0)).max() <= 2


def test_same_tissue_at_any_mpp(phantom):
    """Kernels are in micrometres: coarser pictures give the same tissue."""
    picture, truth = phantom
    for factor in (1, 2, 3):
        small = shrunk(picture, factor)
        known = resized(truth, small.shape[:2], Image.Resampling.BOX)
        assert iou(segment(small, MPP * factor).mask, known) > 0.9


def test_fine_picture_is_averaged_first():
    """A picture at 0.5 mpp gives the mask of its average at 4 mpp, on its own grid."""
    rng = np.random.default_rng(0)
    picture = np.full((512, 512, 3), 242, np.uint8)
    picture[:, :240] = rng.integers((110, 50, 110), (210, 150, 200), (512, 240, 3))
    found = segment(picture, 0.5)
    assert found.mask.shape == (512, 512)
    assert found.mask[:, :220].mean() > 0.9
    assert not found.mask[:, 400:].any()


@pytest.mark.parametrize("size, mpp", [((512, 512), 10.0), ((64, 64), 60.0)])
@pytest.mark.parametrize("method", ["fesi", "fesi-improved", "otsu", "histolab"])
def test_glass_is_empty_and_tissue_is_full(size, mpp, method):
    """A mean threshold always splits something; the guard does not let it."""
    rng = np.random.default_rng(1)
    glass = np.clip(rng.normal((240, 238, 241), 2, (*size, 3)), 0, 255).astype(np.uint8)
    found = segment(glass, mpp, method)
    assert not found.mask.any()
    assert any("no tissue" in warning for warning in found.warnings)
    tissue = np.clip(rng.normal((200, 130, 170), 25, (*size, 3)), 0, 255).astype(np.uint8)
    found = segment(tissue, mpp, method)
    assert found.mask.all()
    assert tuple(found.background) == GLASS
    assert any("no background" in warning for warning in found.warnings)


def test_without_guard_fesi_splits_noise():
    """The published form, by name: it has no guard, so that glass comes out as part tissue."""
    glass = np.random.default_rng(1).normal(240, 2, (400, 400, 3)).clip(0, 255).astype(np.uint8)
    assert segment(glass, 10.0, guard=False, border_background=False).mask.any()


def test_one_colour_is_no_tissue():
    for method in ("fesi", "fesi-improved", "otsu", "histolab"):
        assert not segment(np.full((50, 60, 3), 243, np.uint8), 10.0, method).mask.any()


def test_unknown_method():
    with pytest.raises(ValueError, match="no tissue method 'magic'"):
        segment(np.full((50, 60, 3), 243, np.uint8), 10.0, "magic")


def test_border_rule():
    """A corner that tissue cuts off is background with the rule, and tissue in the published form; a hole is tissue."""
    low = np.zeros((60, 80), bool)
    low[:, 50:] = True  # the deepest
    low[:20, :20] = True  # a corner
    low[30:40, 20:30] = True  # a hole
    published, ruled = background_of(low, False), background_of(low, True)
    assert published[:, 50:].all()
    assert not published[:20, :20].any()
    assert ruled[:20, :20].all()
    assert not ruled[30:40, 20:30].any()


def test_small_regions_live_near_large_ones():
    mask = np.zeros((200, 400), bool)
    mask[50:150, 50:150] = True  # radius 50, reach 150 from (100, 100)
    mask[95:105, 200:210] = True  # radius 5, 105 away: kept
    mask[95:105, 300:310] = True  # radius 5, 205 away: dropped
    kept = near_seeds(mask, 10)
    assert kept[100, 205]
    assert not kept[100, 305]


def test_opening_removes_lines_and_keeps_disks():
    mask = np.zeros((100, 100), bool)
    mask[50, :] = True
    mask[20:41, 20:41] = True
    found = opened(mask, 5)
    assert found[30, 30]
    assert not found[50].any()
    assert fesi(np.full((40, 40, 3), 200, np.uint8), 10).sum() == 0


@pytest.mark.parametrize("ink", [(30, 140, 60), (40, 80, 200), (220, 25, 30), (12, 12, 14)])
def test_pen_is_not_tissue(phantom, ink):
    """A stroke of a pen on the glass and across the tissue: warned of, and not tissue."""
    picture, truth = phantom[0].copy(), phantom[1]
    rows = np.arange(picture.shape[0])[:, None]
    stroke = np.abs(np.arange(picture.shape[1])[None] - 180 - 0.2 * rows) < 6
    picture[stroke] = ink
    found = segment(picture, MPP)
    assert not (found.mask & stroke).any()
    assert any("pen mark?" in warning for warning in found.warnings)
    assert iou(found.mask, truth & ~stroke) > 0.85


def test_blue_stain_is_no_pen():
    """Blue over most of the tissue is the stain."""
    lab = np.zeros((50, 50, 3), np.float32)
    lab[:] = (50, 5, -35)
    assert not pen_marks(lab, np.ones((50, 50), bool), 10.0).any()


def test_dust_and_hairs_are_not_tissue(phantom):
    picture = phantom[0].copy()
    picture[:40, :40][np.hypot(*np.mgrid[-20:20, -20:20]) < 14] = (90, 90, 92)
    picture[5:8, 60:400] = (120, 118, 117)
    mask = segment(picture, MPP).mask
    assert not mask[:40, :40].any()
    assert not mask[:10].any()


@pytest.mark.parametrize("factor", [4, 8, 16])
@pytest.mark.parametrize("method", ["fesi", "fesi-improved"])
def test_coarse_plan_agrees_with_the_truth(phantom, factor, method):
    """A level 0 of 24 to 94 px (32 to 128 mpp): segmented enlarged, and right on its own grid."""
    picture, truth = phantom
    coarse = shrunk(picture, factor)
    mpp = MPP * factor
    found = segment_coarse(coarse, mpp, mpp / 4, method)
    assert found.mask.shape == coarse.shape[:2]
    assert iou(found.mask, resized(truth, coarse.shape[:2], Image.Resampling.BOX)) > 0.87


TILES = {
    "almost-white-1": (0, 0),
    "no-tissue": (0, 0),
    "no-tissue2": (0, 0),
    "no-tissue-line": (0, 0),
    "no-tissue-red-pen": (0, 0.05),
    "high-nuclei-score-level2": (0.1, 0.3),
    "high-nuclei-score-red-pen-level1": (0.8, 1),
    "low-nuclei-score-level1": (0.8, 1),
    "medium-nuclei-score-green-pen-level1": (0.2, 0.6),
    "tissue-level0-4302-10273-4814-10785": (0.9, 1),
}


@pytest.mark.parametrize("name", TILES)
def test_tissue_fraction_of_real_tiles(test_data, name):
    picture = np.asarray(Image.open(test_data / "images" / "histolab_tiles" / f"{name}.png").convert("RGB"))
    found = segment(picture, 0.5)
    low, high = TILES[name]
    assert low <= found.fraction <= high
    assert any("pen mark?" in warning for warning in found.warnings) == (name in PENS)


PENS = ("no-tissue-red-pen", "medium-nuclei-score-green-pen-level1")


@pytest.mark.parametrize("method", ["fesi", "fesi-improved"])
def test_tissue_fraction_of_the_small_slide(cmu_slide, method):
    with open_slide(cmu_slide) as slide:
        found = segment(slide.overview(10.0), 10.0, method)
    assert 0.3 < found.fraction < 0.5
    assert (found.background > 235).all()


SLIDES = {
    "colon_tsa_mciris_gallery01_10x.tif": (25.0, 0.4, 0.55),
    "oral_scc_mciris_gallery06_4x.tif": (25.0, 0.25, 0.35),
    "camelyon_level_mpp29.dcm": (40.0, 0.35, 0.45),
}


@pytest.mark.parametrize("name", SLIDES)
def test_real_slides(test_data, name):
    """Tissue fraction within a band, and a plan of the same slide at 128 px that agrees with it."""
    mpp, low, high = SLIDES[name]
    with open_slide(test_data / "slides" / name) as slide:
        picture = slide.overview(mpp)
    fine = segment(picture, mpp)
    assert low < fine.fraction < high
    assert (fine.background > 220).all()
    if name.startswith("colon"):
        assert not fine.warnings  # its haematoxylin is no ink
    factor = max(picture.shape) / 128
    coarse = shrunk(picture, factor)
    plan = segment_coarse(coarse, mpp * factor, mpp * factor / 4)
    assert iou(plan.mask, resized(fine.mask, coarse.shape[:2], Image.Resampling.BOX)) > 0.8
