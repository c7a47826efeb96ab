"""Seams in feature space: found where tiles do not belong together, not found where there are none, nor on real slides."""

import h5py
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from histogenesis.evaluation.crops import CanvasSource
from histogenesis.evaluation.evaluate_seams import canvas_pairs, seam_metrics
from histogenesis.metrics.coherence.coherence import LevelTiles
from histogenesis.metrics.coherence.feature_seams import paired_distance, seam_pairs
from histogenesis.metrics.encoders.registry import load
from histogenesis.recipe import Evaluation

TILES = LevelTiles(tile_px=32, joining={"kind": "independent"}, constraint={"kind": "none"})
OPTIONS = Evaluation(images=200, n_resamples=20)


def texture(seed: int, height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = gaussian_filter(noise, (2, 2, 0))
    return (130 + 60 * smooth / smooth.std()).clip(0, 215).astype(np.uint8)


def tiled(seed: int, height: int, width: int) -> np.ndarray:
    """Tiles of 32 px, each of a texture of its own."""
    out = np.empty((height, width, 3), np.uint8)
    for n, (y, x) in enumerate(np.ndindex(height // 32, width // 32)):
        out[32 * y : 32 * y + 32, 32 * x : 32 * x + 32] = texture(1000 * seed + n, 32, 32)
    return out


def one_level(folder, picture: np.ndarray) -> CanvasSource:
    folder.mkdir()
    with h5py.File(folder / "level0.h5", "w") as file:
        file["image"] = picture
        file.attrs.update({"mpp": 1.0, "level": 0, "slide": "synthetic_001"})
    return CanvasSource(folder)


class Real:
    """A real slide, as far as crops are concerned."""

    name = patient = "real"

    def __init__(self, picture: np.ndarray, mpp: float):
        self.picture, self.finest_mpp = picture, mpp
        self.height_um, self.width_um = (n * mpp for n in picture.shape[:2])

    def read(self, x_um, y_um, size_px, mpp):
        assert mpp == self.finest_mpp
        y, x = round(y_um / mpp), round(x_um / mpp)
        return self.picture[y : y + size_px, x : x + size_px]


@pytest.fixture
def measure(tmp_path):
    def measured(picture: np.ndarray) -> dict:
        canvas = one_level(tmp_path / "s", picture)
        real = [Real(texture(7, 640, 640), 1.0)]
        encoder = load("stain-statistics", None)
        (entry,) = seam_metrics([encoder], real, [canvas], [TILES], 16, OPTIONS, seed=1)
        canvas.close()
        return entry

    return measured


def test_tiles_that_do_not_belong_together_are_found(measure):
    entry = measure(tiled(1, 640, 640))
    assert entry["p"] == 0.001 and entry["value"] > entry["chance"] and entry["floor_p"] > 0.01
    assert entry["n_generated"] == entry["n_real"] == entry["pairs"] == 150
    assert (entry["level"], entry["joining"], entry["tile_px"]) == (0, "independent", 32)


def test_where_there_is_no_seam_none_is_found(measure):
    entry = measure(texture(3, 640, 640))
    assert entry["p"] > 0.01 and entry["floor_p"] > 0.01


def test_a_cross_of_blur_on_every_tile_line_is_found(measure):
    """Feathered joins: flatter than elsewhere, which a score of steepness that looks one way calls good."""
    picture = texture(3, 640, 640)
    blurred = np.stack([gaussian_filter(c.astype(float), 2) for c in np.moveaxis(picture, -1, 0)], axis=-1)
    near = np.abs((np.arange(640) + 16) % 32 - 16) <= 3
    cross = near[:, None] | near[None, :]
    entry = measure(np.where(cross[..., None], blurred, picture).astype(np.uint8))
    assert entry["p"] == 0.001 and entry["floor_p"] > 0.01


def test_the_permutation_test_has_its_level_and_more_power_than_nothing():
    """Exchangeable pairs: p <= 0.05 in 5 of 100; a mean shift between the two sides: in nearly all."""
    rng = np.random.default_rng(0)
    null, shifted = [], []
    for seed in range(200):
        place = rng.normal(size=(40, 6))  # what both crops of a pair share
        on, beside = (place + rng.normal(size=(40, 6)) for _ in range(2))
        null.append(paired_distance(on, beside, seed, 199).p)
        shifted.append(paired_distance(on + 0.6, beside, seed, 199).p)
    assert 0.01 <= np.mean(np.array(null) <= 0.05) <= 0.10
    assert np.mean(np.array(shifted) <= 0.05) > 0.9


def test_crops_lie_on_the_lines_and_half_a_tile_beside(tmp_path):
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(96)[:, None], np.arange(128)[None]
    on, beside = seam_pairs(
        lambda y, x: picture[y : y + 16, x : x + 16], (96, 128), TILES, 16, 60, np.random.default_rng(0)
    )
    assert len(on) == 60
    centres = on[:, 8, 8, :2].astype(int)
    across = (centres % 32 == 0).any(axis=1)
    assert across.all()
    moved = np.abs(beside[:, 8, 8, :2].astype(int) - centres)
    assert set(map(tuple, moved)) == {(16, 0), (0, 16)}


def test_glass_and_single_tiles_give_no_pairs(tmp_path):
    white = np.full((96, 96, 3), 240, np.uint8)
    for picture in (white, texture(1, 32, 32)):
        read = lambda y, x, p=picture: p[y : y + 16, x : x + 16]  # noqa: E731
        on, beside = seam_pairs(read, picture.shape[:2], TILES, 16, 20, np.random.default_rng(0))
        assert on.shape == beside.shape == (0, 16, 16, 3)
    canvas = one_level(tmp_path / "s", white)
    assert len(canvas_pairs([canvas], TILES, 1.0, 16, 20, 1)[0]) == 0
    assert seam_metrics([], [Real(white, 1.0)], [canvas], [TILES], 16, OPTIONS, seed=1) == []
    canvas.close()
