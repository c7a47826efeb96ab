"""Tiles: every pixel is decided exactly once, by a tile that lies wholly on the canvas."""

import numpy as np
import pytest

from histogenesis.canvas.joinings import GridShift, Layout
from histogenesis.canvas.tiling import ForegroundMask, shifted_grid


@pytest.mark.parametrize("size", [(16, 16), (16, 40), (32, 48), (40, 56), (34, 100)])
def test_cores_cover_the_canvas_once_for_every_shift_and_each_tile_is_told_by_its_window(size):
    """Of a canvas as high as a tile both halves of the grid had one window, and only one was drawn: the rest stayed noise."""
    height, width = size
    for shift_y in range(0, 16, 3):
        for shift_x in range(0, 16, 5):
            count, tiles = np.zeros(size, int), shifted_grid(height, width, 16, shift_y, shift_x)
            assert len({(tile.y, tile.x) for tile in tiles}) == len(tiles)
            for tile in tiles:
                assert 0 <= tile.y <= height - 16 and 0 <= tile.x <= width - 16
                rows, columns = tile.core
                assert tile.y <= rows.start < rows.stop <= tile.y + 16
                assert tile.x <= columns.start < columns.stop <= tile.x + 16
                count[tile.core] += 1
            assert np.all(count == 1)


def test_shifts_are_aligned_to_the_factor_and_differ_between_stages():
    starts, layout = set(), Layout(64, 64, 16, 16, 2, (1, "slide", 1))
    for stage in range(40):
        tiles = GridShift().tiles(layout, stage)
        assert all(t.y % 2 == 0 and t.x % 2 == 0 and t.core[0].start % 2 == 0 for t in tiles)
        starts.add((min(t.core[0].stop for t in tiles), min(t.core[1].stop for t in tiles)))
    assert len(starts) > 15, "the grid moves"
    assert GridShift().tiles(layout, 3) == GridShift().tiles(layout, 3)


def test_where_the_grid_lies_hangs_on_the_run_s_seed_the_slide_the_level_and_the_step():
    layouts = [Layout(64, 64, 16, 16, 1, key) for key in ((1, "a", 1), (2, "a", 1), (1, "b", 1), (1, "a", 2))]
    grids = [[GridShift().tiles(layout, step)[0].core for step in range(20)] for layout in layouts]
    for k, other in enumerate(grids[1:]):
        assert sum(a == b for a, b in zip(grids[0], other)) < 5, f"part {k} of the key"
    assert len(set(map(str, grids[0]))) > 12, "one step's grid is another's in one of 256 cases"


def test_the_plan_is_looked_up_at_any_ratio():
    plan = np.zeros((4, 4), bool)
    plan[1, 2] = True
    for side in (8, 16, 25):
        drawn = ForegroundMask(plan, side, side)[slice(0, side), slice(0, side)]
        cell = [int(n / (side / 4)) for n in range(side)]
        expected = np.array([[plan[i, j] for j in cell] for i in cell])
        assert np.array_equal(drawn, expected)
        everywhere = [(y, x) for y in range(side) for x in range(side)]
        for (a, b), (c, e) in zip(everywhere[::7], everywhere[3::5]):
            window = slice(min(a, c), max(a, c) + 1), slice(min(b, e), max(b, e) + 1)
            of_it, drawn_of = ForegroundMask(plan, side, side), expected[window]
            assert (of_it.any(window), of_it.all(window)) == (drawn_of.any(), drawn_of.all())
        assert np.array_equal(ForegroundMask(plan, side, side)[slice(2, 5), slice(3, 8)], expected[2:5, 3:8])
