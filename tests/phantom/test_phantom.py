"""Phantoms: a function of the options and the position, with a known mask and structure at every scale."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from histogenesis.phantom.anatomy import Grid, Points
from histogenesis.phantom.render import Painter
from histogenesis.phantom.slide import make_phantom, size_px, tissue_mask
from histogenesis.recipe import Phantom
from histogenesis.slides.read import open_slide
from histogenesis.slides.table import SlideRow, register

SMALL = Phantom(name="small", seed=3, width_mm=1.2, height_mm=0.9, mpp=1.0)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    make_phantom(SMALL, folder / "small.tif", folder / "small.png")
    return folder


@pytest.fixture(scope="module")
def painted():
    return Painter(SMALL).rgb(0, 0, *size_px(SMALL))


def test_it_is_a_good_slide(small, painted):
    record = register(SlideRow(slide="small", path="run:small.tif"), small)
    assert record["error"] is None
    assert (record["width_px"], record["height_px"], record["mpp"]) == (1200, 900, pytest.approx(1.0))
    with open_slide(small / "small.tif") as slide:
        assert np.abs(slide.read(0, 0, (900, 1200), 1.0).astype(int) - painted).mean() < 4  # JPEG
    with tifffile.TiffFile(small / "small.tif") as tiff:
        said = json.loads(tiff.pages[0].description)
    assert said["synthetic"] is True and said["phantom"]["seed"] == 3


def test_any_part_is_the_same(painted):
    """Cut as one likes, the pixels are the same: bands, tiles, one pixel."""
    painter = Painter(SMALL)
    for y, x, h, w in ((0, 0, 100, 1200), (333, 401, 257, 129), (640, 800, 260, 400), (450, 600, 1, 1)):
        assert np.array_equal(painter.rgb(y, x, h, w), painted[y : y + h, x : x + w])


def test_same_options_same_bytes(small, tmp_path):
    make_phantom(SMALL, tmp_path / "again.tif", tmp_path / "again.png", threads=1)
    assert (tmp_path / "again.tif").read_bytes() == (small / "small.tif").read_bytes()
    assert (tmp_path / "again.png").read_bytes() == (small / "small.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.png", "again.tif"]


def test_seeds_differ(painted):
    other = Painter(SMALL.model_copy(update={"seed": 4})).rgb(0, 0, 900, 1200)
    assert np.abs(other.astype(int) - painted).mean() > 10


@pytest.mark.parametrize("seed", [1, 2])
def test_mask_is_where_the_tissue_is(seed):
    """Colour, holes filled, finds the outline that the mask states: IoU at least 0.97."""
    options = Phantom(name="m", seed=seed, width_mm=1.6, height_mm=1.2, mpp=5, pen_mark=False, dust=False)
    picture = Painter(options).rgb(0, 0, *size_px(options)).astype(float)
    colour = ndimage.uniform_filter(picture.max(-1) - picture.min(-1), 3) > 14
    found = ndimage.binary_fill_holes(ndimage.binary_closing(colour, iterations=3))
    known = tissue_mask(options, 5.0)
    assert 0.25 < known.mean() < 0.85
    assert (found & known).sum() / (found | known).sum() > 0.97


def test_mask_file_knows_its_mpp(small):
    with Image.open(small / "small.png") as mask:
        assert (mask.size, mask.mode, mask.text["mpp"]) == ((120, 90), "L", "10")
        values = np.asarray(mask)
    assert set(np.unique(values)) == {0, 255}
    assert np.array_equal(values > 0, tissue_mask(SMALL))


def test_coarse_is_the_average_of_fine():
    """At 4 mpp a phantom is its own fine picture, averaged (but for the grain of the scanner, and rounding)."""
    fine = Painter(SMALL).rgb(200, 400, 400, 400).reshape(100, 4, 100, 4, 3).mean((1, 3))
    coarse = Painter(SMALL.model_copy(update={"mpp": 4.0})).rgb(50, 100, 100, 100)
    assert np.abs(coarse - fine).max() < 3


def test_structure_at_every_scale(painted):
    """Between neighbouring octaves, from nuclei to tissue types, there is contrast everywhere."""
    mask = np.kron(ndimage.binary_erosion(tissue_mask(SMALL), iterations=3), np.ones((10, 10), bool))
    finer = painted.mean(-1, dtype=np.float32)
    for um in (1, 2, 4, 8, 16, 32):
        coarser = ndimage.gaussian_filter(finer, um * 0.75**0.5, truncate=3)  # blurs add up: to a radius of `um`
        assert (finer - coarser)[mask].std() > 1.5, um
        finer = coarser


def test_colours_are_those_of_haematoxylin_and_eosin(painted):
    mask = np.kron(tissue_mask(SMALL), np.ones((10, 10), bool))
    glass = painted[~ndimage.binary_dilation(mask, iterations=30)]
    assert (np.median(glass, axis=0) > 230).all() and np.ptp(np.median(glass, axis=0)) < 8
    red, green, blue = painted[mask].astype(int).T
    assert (green < np.minimum(red, blue) + 3).mean() > 0.95  # pink to violet: green is the least
    nuclei = (red < 120) & (blue > red)
    assert 0.03 < nuclei.mean() < 0.35


def test_pen_and_dust_when_asked(painted):
    """Left out, nothing but them changes."""
    without = Painter(SMALL.model_copy(update={"pen_mark": False, "dust": False})).rgb(500, 500, 400, 700)
    changed = np.abs(without.astype(int) - painted[500:, 500:]).max(-1) > 30
    assert 0.005 < changed.mean() < 0.05  # this corner has the pen mark

    painter = Painter(SMALL.model_copy(update={"width_mm": 4.0, "height_mm": 3.0}))
    grid = Grid(np.arange(0, 3000, 4.0), np.arange(0, 4000, 4.0))
    pen, dust = np.zeros((750, 1000, 3), np.float32), np.zeros((750, 1000, 3), np.float32)
    painter._pen(grid, pen)
    painter._dust(grid, dust)
    pen, dust = pen.max(-1) > 0.1, dust.max(-1) > 0.1
    assert 0.001 < pen.mean() < 0.02
    assert pen[:375].sum() == 0 and ndimage.label(pen)[1] == 1  # one stroke, lower right
    assert 1e-5 < dust.mean() < 0.005
    assert ndimage.label(dust)[1] >= 5


def test_points_and_grids_agree():
    anatomy = Painter(SMALL).anatomy
    y, x = np.arange(100, 140, 1.5), np.arange(300, 420, 2.5)
    ys, xs = (n.ravel() for n in np.meshgrid(y, x, indexing="ij"))
    on_grid, at_points = anatomy.outline_um(Grid(y, x)).ravel(), anatomy.outline_um(Points(ys, xs))
    assert np.abs(on_grid - at_points).max() < 0.01


def test_script(root, tmp_path):
    options = Phantom(name="s", width_mm=0.5, height_mm=0.4, mpp=2.0).model_dump_json()
    command = [sys.executable, root / "workflow/scripts/make_phantom.py", "--options", options]
    subprocess.run([*command, "--slide", tmp_path / "a/s.tif", "--mask", tmp_path / "b/s.png"], check=True)
    with open_slide(tmp_path / "a/s.tif") as slide:
        assert (slide.width_px, slide.height_px, slide.mpp) == (250, 200, pytest.approx(2.0))
    assert len(hashlib.sha256((tmp_path / "b/s.png").read_bytes()).hexdigest()) == 64
