"""The seam score finds seams of known height, finds none where there is none, and its interval keeps its promise."""

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from histogenesis.metrics.coherence import seams, strips
from histogenesis.metrics.coherence.seam_map import render_seam_map, seam_map
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
    from histogenesis.canvas.wavefronts import wavefronts

    side = 16 + 12 * (count - 1)
    cores = [tile.core[1] for wavefront in wavefronts(side, side, 16, 12, order) for tile in wavefront.values()]
    borders = {edge for core in cores for edge in (core.start, core.stop)} - {0, side}
    assert tile_lines(side, 16, 12, order).tolist() == sorted(borders)
    assert tile_lines(40, 16, 12).tolist() == [12, 16, 24, 28], "every border of a window, where all decide together"


def test_a_blurred_line_is_a_seam_too():
    """Flatter than its neighbours on every tile line: one side of a score calls it good, two sides do not."""
    rng = np.random.default_rng(3)
    picture = rng.integers(60, 200, (160, 160, 3)).astype(np.uint8)
    for at in range(32, 160, 32):
        picture[:, at] = picture[:, at - 1]
        picture[at] = picture[at - 1]
    lines = tile_lines(160, 32)
    found = seam_score(gradient_profiles(picture), lines, lines)
    assert found.kind == "flat" and found.p_two_sided < 0.02 and found.high < 0.1
    assert found.p > 0.9  # of the one-sided question alone
    assert len(found.by_line) == 8
    assert all(line["p_two_sided"] < 0.1 and line["score"] < 0.1 for line in found.by_line)


def test_one_line_among_others_is_named_and_drawn(tmp_path):
    """A step on the third of four vertical lines, on the upper half alone."""
    picture = np.random.default_rng(4).integers(100, 120, (128, 160, 3)).astype(np.uint8)
    picture[:64, 96:] += 60
    rows, columns = tile_lines(128, 32), tile_lines(160, 32)
    found = seam_score(gradient_profiles(picture), rows, columns)
    scores = {(line["axis"], line["at_px"]): line["score"] for line in found.by_line}
    assert max(scores, key=scores.get) == ("column", 96)
    where = seam_map(picture, None, rows, columns)
    assert where.columns.shape == (4, 4) and where.rows.shape == (3, 5)
    assert (where.columns[:2, 2] > 4).all()
    rest = np.concatenate([where.columns[:, [0, 1, 3]].ravel(), where.columns[2:, 2], where.rows[[0, 2]].ravel()])
    assert np.nanmax(rest) < 1.6
    assert (where.rows[1, 3:] > 4).all() and (where.rows[1, :3] < 1.6).all()  # where the upper half ends
    plan = np.zeros((128, 160), bool)
    plan[:, :64] = True
    assert np.isnan(seam_map(picture, plan, rows, columns).columns[:, 2]).all()
    where.save(tmp_path / "map.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "map.npz")["columns"], where.columns)
    render_seam_map(tmp_path / "map.png", picture, where)
    drawn = np.asarray(Image.open(tmp_path / "map.png")).astype(int)
    red = (drawn[..., 0] - drawn[..., 2]) > 150
    assert red[10:60, 96].all() and red[64, 100:120].all() and not red[70:].any()
