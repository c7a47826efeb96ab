"""Tissue by its difference from the slide's own glass: planted truth on tinted glass, and what is no tissue, planted too."""

import numpy as np
import pytest
from PIL import Image

from histogenesis.phantom.render import Painter
from histogenesis.phantom.slide import tissue_mask
from histogenesis.recipe import Phantom
from histogenesis.slides.read import open_slide
from histogenesis.tissue.artefacts import black_parts
from histogenesis.tissue.glass import find_glass
from histogenesis.tissue.segment import histolab_mask, histolab_own, segment_stain
from histogenesis.tissue.stain import GLASS

MPP = 8.0


def iou(a, b):
    return (a & b).sum() / max(1, (a | b).sum())


def found_in(picture, **options):
    return segment_stain(picture, MPP, ~black_parts(picture), **options)


@pytest.fixture(scope="module")
def phantom():
    """A phantom's picture at 8 mpp without pen and dust, and its tissue."""
    options = Phantom(name="p", seed=1, mpp=MPP, width_mm=3.2, height_mm=2.4, pen_mark=False, dust=False)
    return Painter(options).rgb(0, 0, 300, 400), tissue_mask(options, MPP)


@pytest.mark.parametrize("glass", [(245, 244, 246), (243, 233, 218), (243, 225, 194), (200, 205, 215), (150, 150, 150)])
def test_tissue_is_found_on_glass_of_any_tint(phantom, glass):
    """IoU 0.95 with the truth, 0.2 % of the stained area lost: on clear, yellowed, amber, blue and dark glass."""
    picture, truth = phantom
    clear = np.median(picture[~truth], axis=0)
    tinted = (picture / clear * np.array(glass)).clip(0, 255).astype(np.uint8)
    found = found_in(tinted)
    assert iou(found.mask, truth) >= 0.95
    stained = truth & (np.ptp(picture.astype(int), axis=2) > 40)
    assert (stained & ~found.mask).sum() <= 0.002 * stained.sum()
    assert np.abs(found.background.astype(int) - np.array(glass)).max() <= 3


def test_methyl_green_is_a_stain_where_it_is_all_the_tissue(phantom):
    picture, truth = phantom
    green = picture[..., [1, 0, 2]].copy()  # eosin becomes green
    green[..., 2] = np.minimum(green[..., 2], green[..., 1])
    green[~truth] = picture[~truth]
    assert iou(found_in(green).mask, truth) > 0.9


def test_glass_is_empty_and_a_picture_without_glass_is_full():
    rng = np.random.default_rng(1)
    glass = rng.normal((240, 228, 205), 2, (300, 300, 3)).clip(0, 255).astype(np.uint8)
    assert not found_in(glass).mask.any() and "no tissue was found" in found_in(glass).warnings
    tissue = rng.normal((200, 130, 170), 25, (300, 300, 3)).clip(0, 255).astype(np.uint8)
    found = found_in(tissue)
    assert found.mask.all() and tuple(found.background) == GLASS


def test_masked_on_black_is_not_glass_and_not_tissue(phantom):
    picture, truth = phantom
    masked = np.where(truth[..., None], picture, 0).astype(np.uint8)
    black = black_parts(masked)
    assert iou(black, ~truth) > 0.99
    found = found_in(masked)
    assert not (found.mask & black).any() and found.mask.sum() > 0.9 * truth.sum()


@pytest.mark.parametrize("ink", [(30, 140, 60), (40, 80, 200), (220, 25, 30), (12, 12, 14)])
def test_a_pen_is_found_on_glass_and_across_tissue(phantom, ink):
    picture, truth = phantom[0].copy(), phantom[1]
    rows = np.arange(picture.shape[0])[:, None]
    stroke = np.abs(np.arange(picture.shape[1])[None] - 180 - 0.2 * rows) < 6
    picture[stroke] = ink
    found = found_in(picture)
    assert (found.artefacts["pen"] & stroke).sum() > 0.99 * stroke.sum()
    assert found.artefacts["pen"].sum() < 2 * stroke.sum()
    assert not (found.mask & stroke).any() and iou(found.mask, truth & ~stroke) > 0.9


def test_a_fold_is_twice_the_stain_and_a_lymphoid_nodule_is_not(phantom):
    """Two layers have twice the density in the same colour; as dark a place in another colour is no fold."""
    picture, truth = phantom[0].astype(float), phantom[1]
    glass = np.median(picture[~truth], axis=0)
    flat = np.where(truth[..., None], 0.5 * picture + 0.5 * np.median(picture[truth], axis=0), picture)
    strip = np.zeros(truth.shape, bool)
    strip[120:128, 120:260] = True
    strip &= truth
    folded = flat.copy()
    folded[strip] = flat[strip] ** 2.2 / glass**1.2
    found = found_in(folded.clip(0, 255).astype(np.uint8)).artefacts["fold"]
    assert (found & strip).sum() > 0.5 * strip.sum() and (found & ~strip).sum() < 0.1 * strip.sum()
    blue = flat.copy()
    blue[strip] = (70, 50, 150)
    assert (found_in(blue.clip(0, 255).astype(np.uint8)).artefacts["fold"] & strip).sum() < 0.1 * strip.sum()


def test_epithelium_amid_pale_stroma_is_no_fold(phantom):
    """Twice as dense as what is about it, and no denser than is usual on the slide."""
    picture, truth = phantom[0].astype(float), phantom[1]
    glass = np.median(picture[~truth], axis=0)
    flat = np.where(truth[..., None], np.median(picture[truth], axis=0), picture)
    strip, about = np.zeros(truth.shape, bool), np.zeros(truth.shape, bool)
    strip[120:128, 150:230] = True
    about[90:160, 120:260] = True
    pale = np.where((about & ~strip & truth)[..., None], flat**0.45 * glass**0.55, flat).clip(0, 255).astype(np.uint8)
    assert (strip & truth).sum() > 0.9 * strip.sum() and 2 * (about & truth).sum() < truth.sum()
    assert not (found_in(pale).artefacts["fold"] & strip).any()


def test_histolab_is_its_own_mask_at_its_own_scale(test_data):
    """histolab itself on the file, against ours on the overview."""
    from histolab.masks import TissueMask
    from histolab.slide import Slide

    path = test_data / "slides" / "oral_scc_mciris_gallery06_4x.tif"
    own = np.asarray(TissueMask()(Slide(str(path), "unused")))
    with open_slide(path) as slide:
        picture, size_px = slide.overview(10.0), (slide.width_px, slide.height_px)
    ours = histolab_own(picture, size_px)
    on_grid = np.asarray(Image.fromarray(own).resize(picture.shape[1::-1], Image.Resampling.NEAREST))
    assert iou(ours, on_grid) > 0.98 > iou(histolab_mask(picture), on_grid)


def test_the_mode_of_the_brightest_smooth_pixels_is_glass_and_not_a_hole_in_it():
    picture = np.full((200, 200, 3), (235, 225, 210), np.uint8)
    picture[:6, :6] = 255  # a burnt-out speck
    picture[60:140, 60:140] = np.random.default_rng(0).integers(90, 200, (80, 80, 3))
    assert find_glass(picture, np.ones((200, 200), bool), GLASS).colour.tolist() == [235, 225, 210]
