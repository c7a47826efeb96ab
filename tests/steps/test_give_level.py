"""A given level: the pixels of a real slide at the recipe's mpp, and background where the slide ends."""

import json

import numpy as np
import openslide
import pytest
import tifffile
from skimage import data

from histogenesis.canvas.canvas import Level as LevelFile
from histogenesis.core.errors import BadInput
from histogenesis.recipe import GivenLevel, RecipeError, Tissue, load_recipe, parse_recipe
from histogenesis.slides.table import SlideRow, register
from histogenesis.steps.give_level import give_level
from histogenesis.tissue.files import load_tissue, segment_slide


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lossless slide of 800 x 1000 px at 1 mpp with its record and tissue, and its pixels."""
    path = tmp_path_factory.mktemp("given")
    pixels = np.full((800, 1000, 3), 242, np.uint8)
    pixels[200:700, 100:900] = np.random.default_rng(0).integers((120, 60, 110), (220, 160, 200), (500, 800, 3))
    registered(path, pixels)
    return path, pixels


def registered(path, pixels):
    """Write a lossless slide of these pixels at 1 mpp, with its record and tissue."""
    options = {"resolution": (10_000, 10_000), "resolutionunit": "CENTIMETER", "metadata": None}
    tifffile.imwrite(path / "s.tif", pixels, tile=(64, 64), photometric="rgb", compression="deflate", **options)
    (path / "s.json").write_text(json.dumps(register(SlideRow(slide="s", path=str(path / "s.tif"), patient="p"), path)))
    segment_slide(path / "s.json", path, Tissue(), path / "tissue")


HE = ["gut-he-glands-v2", "gut-he-cells-v2"]


def given(path, out, models=(), **section):
    section = GivenLevel(kind="given", slide="s", **section)
    files = {"record": path / "s.json", "run_dir": path, "tissue": path / "tissue"}
    give_level(**files, options=section, slide="synthetic_001", out=out, models=models)
    return LevelFile(out)


def test_a_region_is_the_slides_own_area_average(lab, tmp_path):
    path, pixels = lab
    with given(path, tmp_path / "level0.h5", mpp=2, size_px=(300, 280), corner_um=(120, 40)) as level:
        wanted = pixels[120:720, 40:600].reshape(300, 2, 280, 2, 3).mean(axis=(1, 3))
        assert np.abs(level.image[:] - wanted).max() <= 0.5
        assert level.mpp == 2 and level.attributes["slide"] == "synthetic_001" and level.attributes["given"] == "s"
        assert not level.attributes["synthetic"], "real tissue does not say that it is synthetic"


def test_a_whole_slide_fits_into_any_size_about_its_centre(lab, tmp_path):
    path, pixels = lab
    background = load_tissue(path / "tissue").background
    with given(path, tmp_path / "level0.h5", mpp=4, size_px=(256, 300)) as level:
        image = level.image[:]
    wanted = np.empty((256, 300, 3))
    wanted[:] = background
    wanted[28:228, 25:275] = pixels.reshape(200, 4, 250, 4, 3).mean(axis=(1, 3))
    assert np.abs(image - wanted).max() <= 0.5


def test_nothing_is_upsampled(lab, tmp_path):
    with pytest.raises(BadInput, match=r"0\.5 mpp was asked for, but the slide has 1"):
        given(lab[0], tmp_path / "level0.h5", mpp=0.5, size_px=(64, 64))


def test_only_level_0_is_given_and_what_is_below_may_hold_to_it(root):
    values = load_recipe(root / "config/test/harb.yaml").model_dump(mode="json", exclude_none=True)
    levels = values["synthetic"]["levels"]
    levels[0] = {"kind": "given", "slide": "phantom_a", "mpp": 16, "size_px": [32, 48]}
    recipe = parse_recipe(values)
    assert recipe.synthetic.levels[1].constraint.kind == "null-space" and recipe.synthetic.size_px(2) == (128, 192)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    levels[1] = levels[0] | {"mpp": 8}
    with pytest.raises(RecipeError, match=r"levels\[1\]: only level 0 can be given"):
        parse_recipe(values)


def test_immunohistochemistry_above_models_of_he_is_warned_of(tmp_path, capsys):
    registered(tmp_path, data.immunohistochemistry())
    given(tmp_path, tmp_path / "level0.h5", HE, mpp=2, size_px=(256, 256)).file.close()
    assert "warning: s: " in (said := capsys.readouterr().err) and "brown" in said and "eosin alone" in said
    for models in ((), ["results/absent/models/own"]):  # which says no stain
        given(tmp_path, tmp_path / "level0.h5", models, mpp=2, size_px=(256, 256)).file.close()
    assert not capsys.readouterr().err


def test_haematoxylin_and_eosin_above_them_is_not(tmp_path, capsys, cmu_slide):
    with openslide.OpenSlide(cmu_slide) as slide:
        pixels = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    registered(tmp_path, pixels)
    given(tmp_path, tmp_path / "level0.h5", HE, mpp=2, size_px=(1400, 1100)).file.close()
    assert not capsys.readouterr().err
