"""The quality that a slide was compressed with is read from its tiles: as written by Pillow, tifffile and libvips."""

import io

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from histogenesis.slides.codec import Codec, codec_of_jpeg, codec_of_slide


def picture(n=256):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(100, 255, (16, 16, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((n, n), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 86, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_pillow(quality, subsampling):
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "JPEG", quality=quality, subsampling=subsampling)
    assert codec_of_jpeg(stream.getvalue()) == Codec(quality, subsampling)


@pytest.mark.parametrize("quality", [30, 70, 85])
def test_libvips_slides_whose_tiles_share_their_tables(tmp_path, quality):
    image = pyvips.Image.new_from_array(picture(600))
    image.tiffsave(tmp_path / "a.tif", tile=True, pyramid=True, compression="jpeg", Q=quality)
    assert codec_of_slide(tmp_path / "a.tif") == Codec(quality, 2)


def test_what_is_not_jpeg(tmp_path, cmu_slide):
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(64, 64), compression="zlib")
    (tmp_path / "b.svs").write_bytes(b"no slide at all")
    assert codec_of_slide(tmp_path / "a.tif") is None
    assert codec_of_slide(tmp_path / "b.svs") is None
    assert codec_of_jpeg(b"no JPEG") is None
    assert codec_of_slide(cmu_slide) is not None  # Aperio's


def test_open_slides(test_data):
    """Stored again at 85 or 86, 4:2:0, as their origin says."""
    found = codec_of_slide(test_data / "slides/duodenum_adenoma_20x.tif")
    assert found.quality in (85, 86) and found.subsampling == 2
