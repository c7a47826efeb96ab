"""Reading is exact: against known answers, and against libvips on real slides."""

import errno

import numpy as np
import openslide
import pytest
import pyvips
from small_slides import area_mean, write_tiff

from histogenesis.core.errors import BadInput
from histogenesis.slides.read import as_transient, open_slide


@pytest.fixture
def ramp(tmp_path):
    """Grey level = column, along 240 columns; rows alike."""
    image = np.broadcast_to(np.arange(240, dtype=np.uint8)[None, :, None], (96, 240, 3))
    return write_tiff(tmp_path / "ramp.tif", [image], mpp=0.5)


@pytest.mark.parametrize("ratio", [1, 2, 3, 7, 16])
def test_linear_gradient_has_its_exact_mean(ramp, ratio):
    with open_slide(ramp) as slide:
        seen = slide.read(16, 5, (4, 10), 0.5 * ratio)
    centres = 16 + ratio * np.arange(10) + (ratio - 1) / 2  # the mean of a linear ramp is its middle
    assert np.array_equal(seen, np.broadcast_to(np.floor(centres + 0.5)[None, :, None], (4, 10, 3)))


@pytest.mark.parametrize(("ratio", "x", "y"), [(1.7, 3, 2), (2.5, 0.25, 7.75), (1, 10.5, 0), (3.999, 11.3, 1.2)])
def test_fractional_borders_are_weighed_by_area(tmp_path, ratio, x, y):
    image = np.random.default_rng(1).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    with open_slide(write_tiff(tmp_path / "noise.tif", [image], mpp=0.25)) as slide:
        seen = slide.read(x, y, (30, 40), 0.25 * ratio)
    exact = area_mean(area_mean(image, y + ratio * np.arange(31), 0), x + ratio * np.arange(41), 1)
    assert np.abs(seen - exact).max() < 0.5 + 1e-3


@pytest.mark.parametrize("size", [(512, 640), (509, 643), (511, 641)])
def test_levels_of_odd_sizes_are_read_where_they_are(tmp_path, size):
    """Coarser levels are used, at their true scale: their pixels, not interpolated ones, and no drift."""
    smooth = np.kron(np.random.default_rng(2).integers(40, 220, (17, 22, 3)), np.ones((32, 32, 1)))[
        : size[0], : size[1]
    ]
    levels = [smooth.astype(np.uint8)]
    while len(levels) < 4:
        h, w = (n // 2 * 2 for n in levels[-1].shape[:2])
        levels.append(levels[-1][:h, :w].reshape(h // 2, 2, w // 2, 2, 3).mean((1, 3)).astype(np.uint8))
    with open_slide(write_tiff(tmp_path / "odd.tif", levels, mpp=1)) as slide:
        for ratio in (2, 4, 5.3, 8):
            n = int(300 / ratio)
            seen = slide.read(128, 96, n, ratio)
            edges = ratio * np.arange(n + 1)
            exact = area_mean(area_mean(levels[0], 96 + edges, 0), 128 + edges, 1)
            assert np.abs(seen - exact).mean() < 1.0  # blocks are 32 px: a drift of a tenth of a pixel would show


def test_a_coarse_level_is_what_is_read(tmp_path):
    """The nearest finer level serves: a marked level shows that it, not level 0, was used."""
    base = np.full((512, 512, 3), 200, np.uint8)
    levels = [base, base[::2, ::2] - 50, base[::4, ::4] - 100]
    with open_slide(write_tiff(tmp_path / "marked.tif", levels, mpp=0.5)) as slide:
        means = [slide.read(0, 0, 50, mpp).mean() for mpp in (0.5, 0.99, 1.0, 1.9, 2.0, 3.0)]
    assert means == [200, 200, 150, 150, 100, 100]


def test_outside_is_white_and_blocks_leave_no_seam(ramp, monkeypatch):
    with open_slide(ramp) as slide:
        whole = slide.read(-20.5, -10, (120, 300), 0.6)
        assert (whole[:8] == 255).all()
        monkeypatch.setattr("histogenesis.slides.read.BLOCK_PX", 500)
        assert np.array_equal(slide.read(-20.5, -10, (120, 300), 0.6), whole)


def test_overview_has_the_whole_slide(ramp):
    with open_slide(ramp) as slide:
        overview = slide.overview(3.5)  # 7 px: 34.3 columns and 13.7 rows
        assert overview.shape == (14, 35, 3)
        assert np.abs(overview[:13, :34, 0] - (3 + 7 * np.arange(34))).max() == 0
        assert overview[0, 34, 0] == round((238 * 1 + 239 + 255 * 5) / 7)


def test_finer_than_the_slide_is_refused(ramp):
    with open_slide(ramp) as slide, pytest.raises(BadInput, match=r"ramp\.tif: 0\.3 mpp .* has 0\.5: ask for"):
        slide.read(0, 0, 10, 0.3)


@pytest.mark.parametrize("asked", [0.4861, 0.4999, 0.51, 0.515])
def test_within_three_per_cent_the_slide_serves_its_own_pixels(ramp, asked):
    with open_slide(ramp) as slide:
        assert np.array_equal(slide.read(16, 5, (4, 10), asked)[0, :, 0], np.arange(16, 26))
        with pytest.raises(BadInput, match="ask for"):
            slide.read(0, 0, 10, 0.4849)


def test_given_mpp_overrides_the_file(ramp):
    with open_slide(ramp, mpp=0.25) as slide:
        assert slide.mpp == 0.25
        assert slide.read(0, 0, (1, 2), 0.5)[0, :, 0].tolist() == [1, 3]  # 0.5 and 2.5, rounded half up


def test_pixels_that_are_not_square_are_refused(tmp_path, tissue_like):
    import tifffile

    path = tmp_path / "flat.tif"
    tifffile.imwrite(
        path, tissue_like, tile=(64, 64), photometric="rgb", resolution=(20_000, 10_000), resolutionunit="CENTIMETER"
    )
    with pytest.raises(BadInput, match="not square"):
        open_slide(path)


def test_read_errors_that_may_pass_are_told_apart(tmp_path):
    error = openslide.OpenSlideError("Couldn't read: Input/output error")
    assert as_transient(tmp_path, error).errno == errno.EIO
    assert as_transient(tmp_path, openslide.OpenSlideError("Not a JPEG file")) is None


# ---------------------------------------------------------------------------------- real slides, against libvips


def vips_shrink(image: pyvips.Image, x: int, y: int, size: int, factor: int) -> np.ndarray:
    return image.crop(x, y, size * factor, size * factor).shrink(factor, factor).numpy()


@pytest.mark.parametrize("factor", [1, 2, 5, 8])
def test_svs_agrees_with_libvips(cmu_slide, factor):
    """One level: the same pixels, averaged by two programs."""
    image = pyvips.Image.tiffload(str(cmu_slide), page=0)
    with open_slide(cmu_slide) as slide:
        seen = slide.read(301, 402, 200, slide.mpp * factor)
    assert np.abs(seen.astype(int) - vips_shrink(image, 301, 402, 200, factor)).max() <= 1


@pytest.mark.parametrize("ratio", [1.3, 2.004, 20.04])
def test_svs_at_fractional_mpp_agrees_with_an_integral(cmu_slide, ratio):
    with open_slide(cmu_slide) as slide:
        n = int(1500 / ratio)
        seen = slide.read(100.5, 200.25, n, slide.mpp * ratio)
    image = pyvips.Image.tiffload(str(cmu_slide), page=0).numpy()
    edges = ratio * np.arange(n + 1)
    exact = area_mean(area_mean(image, 200.25 + edges, 0), 100.5 + edges, 1)
    assert np.abs(seen - exact).max() < 0.5 + 2e-3


PYRAMIDS = ["colon_tsa_mciris_gallery01_10x.tif", "oral_scc_mciris_gallery06_4x.tif"]


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize(("ratio", "level"), [(1, 0), (1.9, 0), (3, 1), (4, 2), (7.3, 2), (16, 4)])
def test_pyramid_is_the_exact_mean_of_its_nearest_finer_level(test_data, name, ratio, level):
    """The pixels of that level as libvips decodes them, integrated."""
    path = test_data / "slides" / name
    with open_slide(path) as slide:
        seen = slide.read(4001, 3003, 100, slide.mpp * ratio)
    image = pyvips.Image.tiffload(str(path), page=level)
    x, y = 4001 // 2**level, 3003 // 2**level
    size = int(100 * ratio / 2**level) + 2
    pixels = image.crop(x, y, size, size).numpy()
    edges_x, edges_y = ((start + ratio * np.arange(101)) / 2**level for start in (4001, 3003))
    exact = area_mean(area_mean(pixels, edges_y - y, 0), edges_x - x, 1)
    assert np.abs(seen - exact).max() < 0.5 + 2e-3


@pytest.mark.parametrize("name", PYRAMIDS)
@pytest.mark.parametrize("factor", [1, 3, 4, 7, 16])
def test_pyramid_agrees_with_libvips(test_data, name, factor):
    """With the shrunk full resolution, but for the JPEG coding of the level between (about 5 grey levels in these files),
    and nowhere better than in its own place."""
    path = test_data / "slides" / name
    image = pyvips.Image.tiffload(str(path), page=0)
    with open_slide(path) as slide:
        seen = slide.read(4001, 3003, 200, slide.mpp * factor).astype(int)
    assert np.abs(seen - vips_shrink(image, 4001, 3003, 200, factor)).mean() < (0.01 if factor == 1 else 7)
    assert abs((seen - vips_shrink(image, 4001, 3003, 200, factor)).mean()) < 1
    errors = {
        shift: np.abs(seen - vips_shrink(image, 4001 + shift, 3003, 200, factor)).mean()
        for shift in (-factor, 0, factor)
    }
    assert min(errors, key=errors.get) == 0


@pytest.mark.parametrize("factor", [1, 3, 4])
def test_dicom_agrees_with_libvips(test_data, factor):
    path = test_data / "slides" / "camelyon_level_mpp29.dcm"
    with openslide.OpenSlide(path) as handle:
        image = np.asarray(handle.read_region((0, 0), 0, handle.dimensions))
        assert (image[..., 3] == 255).all()
    with open_slide(path) as slide:
        assert slide.vendor == "dicom"
        seen = slide.read(200, 100, 150, slide.mpp * factor)
    vips = vips_shrink(pyvips.Image.new_from_array(np.ascontiguousarray(image[..., :3])), 200, 100, 150, factor)
    assert np.abs(seen.astype(int) - vips).max() <= 1
