"""The seam score finds seams of known height, finds none where there is none, and its interval keeps its promise."""

import h5py
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from histogenesis.metrics.coherence import seams, strips
from histogenesis.metrics.coherence.seams import gradient_profiles, seam_score, tile_lines

TILE = 64


def canvas(seed, size=(256, 320), blur=2.0, contrast=25):
    """Smooth noise without tiles: uint8 (H, W, 3)."""
    field = np.random.default_rng(seed).standard_normal((*size, 3))
    field = gaussian_filter(field, (blur, blur, 0), mode="wrap") if blur else field
    return np.clip(150 + contrast * field / field.std(), 0, 255).astype(np.uint8)


def with_seams(picture, height):
    """Every other tile is brighter by `height`: a jump of that height on each tile line."""
    rows, columns = np.indices(picture.shape[:2]) // TILE
    return np.clip(picture + ((rows + columns) % 2 * height)[..., None], 0, 255).astype(np.uint8)


def score(picture, plan=None, **options):
    lines = (tile_lines(side, TILE) for side in picture.shape[:2])
    return seam_score(gradient_profiles(picture, plan), *lines, **options)


def test_profiles_are_the_plain_differences():
    picture = canvas(1, (300, 70))
    plan = np.random.default_rng(2).random((30, 7)) > 0.4
    tissue = plan.repeat(10, 0).repeat(10, 1)
    values = picture.astype(float)
    steep = np.abs(np.diff(values, axis=1)).mean(axis=2)
    both = tissue[:, 1:] & tissue[:, :-1]
    profiles = gradient_profiles(picture, plan)
    np.testing.assert_allclose(profiles.columns[1:], (steep * both).sum(axis=0))
    np.testing.assert_array_equal(profiles.columns_n[1:], both.sum(axis=0))
    steep = np.abs(np.diff(values, axis=0)).mean(axis=2)
    both = tissue[1:] & tissue[:-1]
    np.testing.assert_allclose(profiles.rows[1:], (steep * both).sum(axis=1))
    np.testing.assert_array_equal(profiles.rows_n[1:], both.sum(axis=1))
    assert profiles.columns_n[0] == profiles.rows_n[0] == 0


def test_strips_and_blocks_do_not_change_the_profiles(monkeypatch, tmp_path):
    picture = canvas(3, (530, 90))
    whole = gradient_profiles(picture)
    monkeypatch.setattr(seams, "COLUMNS_AT_ONCE", 17)
    monkeypatch.setattr(strips.strips, "__defaults__", (64,))
    with h5py.File(tmp_path / "level0.h5", "w") as file:
        file.create_dataset("image", data=picture, chunks=(64, 64, 3))
        pieces = gradient_profiles(file["image"])
    for name in ("columns", "columns_n", "rows", "rows_n"):
        np.testing.assert_allclose(getattr(whole, name), getattr(pieces, name))


@pytest.mark.parametrize("height", [6, 20])
def test_a_seam_of_known_height_is_caught(height):
    smooth = canvas(4, blur=4, contrast=6)  # steps of 1 or so, so that a seam adds itself to none and replaces none
    found = score(with_seams(smooth, height))
    assert found.low > 1
    assert found.p < 0.02
    assert found.lines == 3 + 4
    elsewhere = score(smooth).jump + found.jump / (found.score - 1)
    assert found.jump + elsewhere == pytest.approx(height, rel=0.1)
    assert found.jump_low <= found.jump <= found.jump_high


def test_a_seam_outside_tissue_does_not_count():
    picture = with_seams(canvas(5), 30)
    plan = np.zeros((16, 20), bool)
    plan[9:12, 9:12] = True  # between the tile lines at 128 and 192 px
    inside = score(picture, plan)
    assert inside.score is None
    assert inside.lines == 0
    assert "tissue" in inside.note


@pytest.mark.parametrize("blur", [0.0, 2.0])
@pytest.mark.parametrize("size", [(256, 320), (128, 128)])
def test_without_seam_the_interval_covers_one_in_95_percent(blur, size):
    """200 canvases: 95 % +- 3 standard errors is 90.4 % to 99.6 %. (128 px have one line a side.)"""
    found = [score(canvas(seed, size, blur), seed=seed) for seed in range(200)]
    covered = np.mean([one.low <= 1 <= one.high for one in found])
    assert 0.904 <= covered <= 0.996
    assert np.mean([one.score for one in found]) == pytest.approx(1, abs=0.02)


def test_uneven_texture_is_no_seam():
    """Texture that gets rougher from left to right: neighbours of a line are what it must be compared with."""
    rng = np.random.default_rng(6)
    found = []
    for seed in range(100):
        rough = np.linspace(2, 30, 320)[None, :, None] * rng.standard_normal((256, 320, 3))
        found.append(score(np.clip(128 + rough, 0, 255).astype(np.uint8), seed=seed))
    assert np.mean([one.low <= 1 <= one.high for one in found]) >= 0.9


def test_blocks_of_the_level_above_are_no_seam():
    coarse = canvas(7, (128, 160), blur=0).repeat(2, 0).repeat(2, 1).astype(int)
    fine = np.clip(coarse + np.random.default_rng(8).integers(-3, 4, coarse.shape), 0, 255).astype(np.uint8)
    assert score(fine).score > 1.5  # even lines are steep, odd ones are not: this is what block_px is for
    aware = score(fine, block_px=2)
    assert aware.score == pytest.approx(1, abs=0.05)
    assert aware.low <= 1 <= aware.high
    assert score(with_seams(fine, 40), block_px=2).low > 1.1


def test_a_flat_canvas_and_a_single_tile_have_no_score():
    flat = score(np.full((128, 128, 3), 240, np.uint8))
    assert flat.score is None
    assert "flat" in flat.note
    assert score(canvas(9, (64, 64))).lines == 0


def test_the_same_seed_gives_the_same_score():
    picture = canvas(10)
    assert score(picture, seed=1) == score(picture, seed=1)
    assert score(picture, seed=1) != score(picture, seed=2)


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_lines_of_overlapping_tiles_lie_where_another_tile_begins_to_decide(order, count):
    from histogenesis.canvas.waves import waves

    side = 16 + 12 * (count - 1)
    cores = [tile.core[1] for wave in waves(side, side, 16, 12, order) for tile in wave.values()]
    borders = {edge for core in cores for edge in (core.start, core.stop)} - {0, side}
    assert tile_lines(side, 16, 12, order).tolist() == sorted(borders)
    assert tile_lines(40, 16, 12).tolist() == [12, 16, 24, 28], "every border of a window, where all decide together"
