"""Overlapping tiles and their waves: every pixel is decided once, and nobody waits for, or reads, an unfinished tile."""

import itertools

import numpy as np
import pytest

from histogenesis.canvas.wavefronts import neighbours, overlapping, wavefronts


def overlap(a, b):
    return all(max(p.start, q.start) < min(p.stop, q.stop) for p, q in zip(a, b))


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
@pytest.mark.parametrize("size", [(16, 16), (16, 40), (52, 40), (28, 64), (64, 64), (16, 28)])
def test_cores_cover_the_canvas_once(order, size):
    count = np.zeros(size, int)
    for wavefront in wavefronts(*size, 16, 12, order):
        for tile in wavefront.values():
            assert all(w.start <= c.start < c.stop <= w.stop for w, c in zip(tile.window, tile.core))
            count[tile.core] += 1
    assert np.all(count == 1)


@pytest.mark.parametrize("order", ["raster", "checkerboard"])
@pytest.mark.parametrize(("tile", "stride"), [(16, 12), (16, 8), (16, 15)])
def test_what_a_tile_does_not_decide_was_decided_in_an_earlier_wave(order, tile, stride):
    """So it does not matter in which order, and by how many jobs, the tiles of one wave are drawn."""
    side = tile + 5 * stride
    all_waves = wavefronts(side, side, tile, stride, order)
    decided = np.full((side, side), -1)
    for n, wavefront in enumerate(all_waves):
        for one in wavefront.values():
            decided[one.core] = n
    for n, wavefront in enumerate(all_waves):
        for one, other in itertools.combinations(wavefront.values(), 2):
            assert not overlap(one.core, other.window) and not overlap(other.core, one.window)
        for one in wavefront.values():
            outside = np.ones((side, side), bool)
            outside[one.core] = False
            assert not np.any(decided[one.window][outside[one.window]] == n), "never by another of the same wave"


def test_all_that_a_raster_tile_shares_with_tiles_before_it_is_finished():
    """URCDM's dependencies: W, N and NW. What it shares with NE was decided by N."""
    side = 16 + 4 * 12
    found = {
        place: (n, tile)
        for n, wavefront in enumerate(wavefronts(side, side, 16, 12, "raster"))
        for place, tile in wavefront.items()
    }
    for (i, j), (n, tile) in found.items():
        before = [(i, j - 1), (i - 1, j), (i - 1, j - 1)]
        assert all(found[place][0] < n for place in before if place in found)
        for place in neighbours((i, j)):
            if place in found and place not in before and overlap(found[place][1].core, tile.window):
                assert found[place][0] > n


def test_the_papers_counts():
    """46 x 46 tiles of 1024 px every 896 px: 2116 in 91 raster waves of at most 46, in 4 of a checkerboard; 7 x 7: 13."""
    raster = wavefronts(41344, 41344, 1024, 896, "raster")
    assert len(raster) == 91 and sum(map(len, raster)) == 2116 and max(map(len, raster)) == 46
    board = wavefronts(41344, 41344, 1024, 896, "checkerboard")
    assert len(board) == 4 and [len(wavefront) for wavefront in board] == [529] * 4
    assert len(wavefronts(6400, 6400, 1024, 896, "raster")) == 13
    assert (
        len(wavefronts(1024, 1024, 1024, 896, "raster")) == len(wavefronts(1024, 1024, 1024, 896, "checkerboard")) == 1
    )


def test_only_neighbours_overlap():
    tiles = overlapping(52, 52, 16, 12)
    for (a, one), (b, other) in itertools.permutations(tiles.items(), 2):
        assert overlap(one.window, other.window) == (b in neighbours(a))
