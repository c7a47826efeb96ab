"""Pictures have the scale and the place that they say."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from histogenesis.report.blocks import Interval, duration_text, number_text
from histogenesis.report.pictures import (
    INK,
    data_url,
    framed,
    length_text,
    overview,
    round_length,
    with_scale_bar,
    zooms,
)


@pytest.mark.parametrize("um,expected", [(1, 1), (4.9, 2), (50, 50), (99, 50), (1234, 1000), (0.3, 0.2)])
def test_scale_bars_are_round_lengths(um, expected):
    assert round_length(um) == pytest.approx(expected)


def test_scale_bar_is_as_long_as_it_says():
    drawn = np.asarray(with_scale_bar(Image.new("RGB", (300, 300), "pink"), mpp=4.0))
    ink = (drawn == INK).all(axis=2)
    assert ink.sum(axis=1).max() == 50  # a third of 1200 um is 400 um, so 200 um, that is 50 px
    assert length_text(200) == "200 µm"
    assert length_text(2000) == "2 mm"


def decoded(url):
    return Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))


def test_data_urls_are_small_enough_and_true():
    noise = np.random.default_rng(1).integers(0, 255, (300, 600, 3)).astype(np.uint8)
    assert decoded(data_url(Image.fromarray(noise), 200)).size == (200, 100)
    lines = np.full((100, 100, 3), 255, np.uint8)
    lines[50] = 0
    picture = decoded(data_url(Image.fromarray(lines)))
    assert picture.format == "PNG"
    np.testing.assert_array_equal(np.asarray(picture), lines)


def levels():
    """A bright square in an otherwise dark slide, at three resolutions."""
    found = []
    for side in (32, 64, 128):
        image = np.full((side, 2 * side, 3), 60, np.uint8)
        image[side // 2 : side // 2 + side // 4, side : side + side // 4] = 220
        found.append(image)
    return found


def test_zooms_show_one_place_at_every_level():
    plan = np.zeros((32, 64), bool)
    plan[16:24, 32:40] = True
    found = zooms(levels(), [4.0, 2.0, 1.0], plan, side_px=32)
    assert [zoom.side for zoom in found] == [32, 32, 32]
    for zoom, image in zip(found, levels()):
        window = image[zoom.y : zoom.y + zoom.side, zoom.x : zoom.x + zoom.side]
        assert (window == 220).any()
        assert zoom.picture.width % zoom.side == 0
    assert (found[2].y, found[2].x) == (64, 128)  # the square itself
    assert (np.asarray(found[2].picture)[:50] == 220).all()


def test_overview_is_the_mean_and_frames_lie_where_the_zooms_are():
    small = overview(levels(), long_side=100)
    assert small.size == (100, 50)
    assert np.asarray(small).mean() == pytest.approx(levels()[0].mean(), abs=0.5)
    plan = np.ones((32, 64), bool)
    windows = zooms(levels(), [4.0, 2.0, 1.0], plan, side_px=32)
    drawn = np.asarray(framed(Image.new("RGB", (256, 128)), windows, levels()))
    white = np.argwhere((drawn == 255).all(axis=2))
    y, x = windows[2].y, windows[2].x
    assert ((white == [y, x + 31]).all(axis=1)).any()


def test_numbers_are_written_for_reading():
    words = {0.01234: "0.0123", 1.005e6: "1,005,000", 45.0: "45", -0.25: "−0.250", 123.4: "123", 0.004: "0.004"}
    assert {value: number_text(value) for value in words} == words
    assert number_text(None) == "–"
    assert number_text(float("nan")) == "not a number"
    assert [duration_text(s) for s in (3.21, 75.0, 600, 7200)] == ["3.2 s", "75 s", "10.0 min", "2.0 h"]


def test_intervals_stay_on_their_axis():
    drawn = Interval(0.5, 1.0, 3.0, (0.9, 1.1), reference=1)
    assert [drawn.at(x) for x in (0.5, 1.0, 3.0)] == [0, 50, 100]


def test_a_picture_of_noise_is_shown_too():
    """What an untrained model draws does not compress: Pillow's buffer must hold it."""
    noise = np.random.default_rng(0).integers(0, 256, (384, 384, 3), dtype=np.uint8)
    assert data_url(Image.fromarray(noise)).startswith("data:image/")
