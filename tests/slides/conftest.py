"""Small slides, made for these tests."""

from pathlib import Path

import numpy as np
import openslide
import pytest
from small_slides import write_tiff


@pytest.fixture
def tissue_like() -> np.ndarray:
    """(400, 600, 3) uint8: white glass with a speckled reddish square."""
    rng = np.random.default_rng(0)
    image = np.full((400, 600, 3), 242, np.uint8)
    image[80:300, 100:450] = rng.integers((120, 60, 110), (220, 160, 200), (220, 350, 3), dtype=np.uint8)
    return image


@pytest.fixture
def good_slide(tmp_path, tissue_like) -> Path:
    return write_tiff(tmp_path / "good.tif", [tissue_like], mpp=0.5)


@pytest.fixture(scope="module")
def pixels(cmu_slide):
    """Real tissue, (768, 640, 3)."""
    with openslide.OpenSlide(str(cmu_slide)) as slide:
        return np.ascontiguousarray(np.asarray(slide.read_region((500, 900), 0, (640, 768)))[..., :3])
