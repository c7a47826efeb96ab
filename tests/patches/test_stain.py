"""Real slides of each stain: what is H&E is not questioned, and what is not is."""

import numpy as np
import openslide
import pytest
from skimage import data
from skimage.color import hed2rgb, rgb2hed

from histogenesis.patches.stain import unlike_he


def tiles(image: np.ndarray, side: int = 64) -> np.ndarray:
    rows, columns = image.shape[0] // side, image.shape[1] // side
    return (
        image[: rows * side, : columns * side]
        .reshape(rows, side, columns, side, 3)
        .swapaxes(1, 2)
        .reshape(-1, side, side, 3)
    )


def test_immunohistochemistry_is_seen():
    brown = data.immunohistochemistry()  # colon, diaminobenzidine and haematoxylin, 512 px
    assert "brown" in unlike_he(tiles(brown))
    stains = rgb2hed(brown)
    stains[..., 1:] = 0
    negative = (255 * hed2rgb(stains)).round().astype(np.uint8)  # the same with its counterstain alone
    assert "without pink" in unlike_he(tiles(negative))
    assert "fluorescence" in unlike_he(tiles(brown) // 5)


def test_haematoxylin_and_eosin_is_not_questioned(cmu_slide):
    with openslide.OpenSlide(cmu_slide) as slide:
        image = np.asarray(slide.read_region((0, 0), 0, slide.dimensions))[..., :3]
    assert unlike_he(tiles(image)) is None
    assert unlike_he(np.full((4, 32, 32, 3), 240, np.uint8)) is None, "nothing is stained"


@pytest.mark.parametrize(
    "name",
    ["duodenum_adenoma_20x", "duodenum_net_ice1_20x", "stomach_metaplasia_20x", "colon_tsa_mciris_gallery01_10x"],
)
def test_other_laboratories_haematoxylin_and_eosin(test_data, name):
    with openslide.OpenSlide(test_data / f"slides/{name}.tif") as slide:
        level = slide.get_best_level_for_downsample(8)
        image = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))[..., :3]
    assert unlike_he(tiles(image)) is None
