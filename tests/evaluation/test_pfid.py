"""Crops at exact places and scales, and both patch FIDs."""

import h5py
import numpy as np
import pytest
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.crops import CanvasSource, Place, SlideSource, coarsest_mpp, read_places, tissue_crops
from histogenesis.evaluation.pfid import (
    any_resolution_places,
    crop_fid,
    fixed_places,
    pfid_any_resolution,
    pfid_urcdm,
)
from histogenesis.metrics.distances.frechet import fid
from histogenesis.metrics.encoders.features import FeatureSet
from histogenesis.metrics.encoders.registry import load


def write_canvas(folder, finest, mpps=(4.0, 2.0, 1.0), slide="synthetic_001"):
    folder.mkdir(parents=True)
    for k, mpp in enumerate(mpps):
        f = int(mpp / mpps[-1])
        h, w = (n // f for n in finest.shape[:2])
        image = finest.reshape(h, f, w, f, 3).mean(axis=(1, 3)).round().astype(np.uint8)
        with h5py.File(folder / f"level{k}.h5", "w") as file:
            file["image"] = image
            file.attrs.update({"mpp": mpp, "level": k, "slide": slide})
    Image.fromarray(np.full((h // f, w // f), 255, np.uint8)).save(folder / "plan.png")
    return folder


@pytest.fixture(scope="module")
def canvas(tmp_path_factory):
    rng = np.random.default_rng(0)
    finest = rng.integers(0, 256, (128, 160, 3), dtype=np.uint8)
    folder = write_canvas(tmp_path_factory.mktemp("synthetic") / "synthetic_001", finest)
    plan = np.zeros((32, 40), np.uint8)
    plan[8:24, 4:20] = 255
    Image.fromarray(plan).save(folder / "plan.png")
    return folder, finest


def test_canvas_is_read_at_any_mpp(canvas):
    folder, finest = canvas
    source = CanvasSource(folder)
    assert (source.width_um, source.height_um, source.finest_mpp) == (160, 128, 1)
    np.testing.assert_array_equal(source.read(32, 64, 16, 1.0), finest[64:80, 32:48])
    np.testing.assert_array_equal(source.read(32, 64, 8, 2.0), source.level(2.0)["image"][32:40, 16:24])
    # 3 mpp: area average of the 2 mpp level, each pixel 1.5 x 1.5 of that level's
    two = source.level(2.0)["image"][:].astype(float)
    wide = two.repeat(2, 0).repeat(2, 1)[:96, :96].reshape(32, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(source.read(0, 0, 32, 3.0).astype(float) - wide).max() <= 0.51
    with pytest.raises(BadInput, match="finest level"):
        source.read(0, 0, 8, 0.5)
    source.close()


def test_tissue_crops_lie_on_the_plan(canvas):
    folder, _ = canvas
    source = CanvasSource(folder)
    crops = tissue_crops(source, folder / "plan.png", 1.0, 16, 40, 1.0, seed=3)
    image = source.level(1.0)["image"][:]
    windows = {image[y : y + 16, x : x + 16].tobytes(): (y, x) for y in range(113) for x in range(145)}
    places = np.array([windows[c.tobytes()] for c in crops])
    assert len(crops) == 40
    assert (places >= (32, 16)).all()  # plan rows 8..24 and columns 4..20, each 4 px of this level
    assert (places + 16 <= (96, 80)).all()
    np.testing.assert_array_equal(crops, tissue_crops(source, folder / "plan.png", 1.0, 16, 40, 1.0, seed=3))
    assert len(tissue_crops(source, folder / "plan.png", 3.0, 16, 40, 0.1, 0)) == 0  # no such level
    assert len(tissue_crops(source, folder / "plan.png", 4.0, 64, 40, 0.1, 0)) == 0  # smaller than a crop
    assert len(tissue_crops(source, folder / "plan.png", 1.0, 16, 9999, 0.1, 0)) <= 4 * 64 * 64 / 256
    source.close()


def test_slide_and_canvas_give_the_same_places(cmu_slide, tmp_path):
    """A canvas copied from the slide gives the slide's own crops, at the same places: the patch FID is 0 there."""
    from histogenesis.slides.read import open_slide

    with open_slide(cmu_slide) as slide:
        height, width = 1024, 1024
        part = slide.read(0, 0, (height, width), slide.mpp)
        mpps = tuple(slide.mpp * f for f in (4, 2, 1))
        copy = CanvasSource(write_canvas(tmp_path / "copy", part, mpps))

        class Window:
            width_px, height_px, mpp = width, height, slide.mpp
            read = slide.read

        real = SlideSource(Window, "cmu", "cmu")
        places = [Place(0.3, 0.2, 0.7, slide.mpp), Place(0.9, 1.0, 0.0, slide.mpp * 2)]
        a, _ = read_places([real], places, 64)
        b, _ = read_places([copy], places, 64)
        assert np.abs(a[0].astype(int) - b[0]).max() <= 0
        assert np.abs(a[1].astype(int) - b[1]).max() <= 60  # the place is rounded to whole pixels of the level
        encoder = load("stain-statistics")
        same = pfid_any_resolution(encoder, [real], [copy], 60, 48, seed=1)
        left, right = SlideSource(Window, "l", "p", 0, 0.5), SlideSource(Window, "r", "p", 0.5, 1)
        floor = pfid_any_resolution(encoder, [left], [right], 60, 48, seed=1)
        assert same.value < 0.05 * floor.value
        assert [p.mpp for p in same.places] == [
            p.mpp for p in any_resolution_places(60, slide.mpp, coarsest_mpp([real, copy], 48), 1)
        ]
        fixed = pfid_urcdm(encoder, [left], [right], 60, [slide.mpp * 4, slide.mpp], 48, resize_px=64, seed=1)
        assert fixed.value == pytest.approx(fid(fixed.real, fixed.generated))
        assert sorted({p.mpp for p in fixed.places}) == [slide.mpp, slide.mpp * 4]
        assert np.isin(fixed.real_source, [0]).all()
        assert right.left_um == pytest.approx(512 * slide.mpp)


def test_places():
    places = any_resolution_places(4000, 0.5, 8.0, seed=1)
    assert places == any_resolution_places(4000, 0.5, 8.0, seed=1)
    logs = np.log2([p.mpp for p in places])
    assert np.mean(logs) == pytest.approx(1, abs=0.08)  # log-uniform between 2^-1 and 2^3
    assert [p.mpp for p in fixed_places(6, [4, 2, 1])] == [4, 4, 2, 2, 1, 1]
    with pytest.raises(BadInput, match="no scale fits"):
        any_resolution_places(5, 2.0, 1.0)


def test_crops_that_do_not_fit(canvas):
    source = CanvasSource(canvas[0])
    with pytest.raises(BadInput, match="take smaller crops"):
        read_places([source], [Place(0, 0, 0, 4.0)], 64)
    with pytest.raises(BadInput, match="no slides"):
        read_places([], [], 8)
    source.close()


def test_crop_fid_by_mpp():
    rng = np.random.default_rng(0)
    mpp = np.repeat([2.0, 1.0], 50)
    a, b = (FeatureSet("x", rng.normal(size=(100, 4)), "e", "w", np.zeros(100), mpp) for _ in range(2))
    found = crop_fid(a, b)
    assert list(found) == [2.0, 1.0]
    assert found[1.0] == fid(a.features[50:], b.features[50:])
    with pytest.raises(BadInput, match="mpps of the levels"):
        crop_fid(a, FeatureSet("x", b.features, "e", "w", np.zeros(100), mpp * 10))
