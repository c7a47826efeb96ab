"""Cross-scale error has known answers, at any ratio, and coherence.json says what the canvases are."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.metrics.coherence import cross_scale
from histogenesis.metrics.coherence.coherence import LevelTiles, block_px, measure_coherence
from histogenesis.metrics.coherence.cross_scale import area_weights, cross_scale_error, pooled


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def average(image, height, width):
    return np.concatenate([band for _, band in pooled(image, height, width)])


def test_area_weights_of_a_broken_ratio_by_hand():
    np.testing.assert_allclose(area_weights(5, 2).toarray(), [[0.4, 0.4, 0.2, 0, 0], [0, 0, 0.2, 0.4, 0.4]], rtol=1e-6)


@pytest.mark.parametrize("many,few", [(41344, 6400), (6400, 1024), (97, 13), (64, 64), (1000, 1)])
def test_area_weights_share_everything_out(many, few):
    weights = area_weights(many, few).astype(np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=0), few / many, rtol=1e-4)


def test_integer_ratio_is_block_mean():
    image = noise(1, 600, 44)
    expected = image.reshape(300, 2, 22, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(average(image, 300, 22), expected, atol=1e-3)


def test_broken_ratio_is_the_exact_area_mean(monkeypatch):
    """Against repeating each pixel until the ratio is an integer."""
    image = noise(2, 65, 39)  # to 10 x 6: ratio 6.5
    fine = image.repeat(2, 0).repeat(2, 1).astype(float)
    expected = fine.reshape(10, 13, 6, 13, 3).mean(axis=(1, 3))
    monkeypatch.setattr(cross_scale, "STRIP_ROWS", 16)
    monkeypatch.setattr(cross_scale, "VALUES_AT_ONCE", 50)
    np.testing.assert_allclose(average(image, 10, 6), expected, atol=1e-3)


def test_error_of_known_size_inside_and_outside_tissue():
    coarse = np.full((20, 30, 3), 100, np.uint8)
    fine = coarse.repeat(2, 0).repeat(2, 1)
    fine[:, :30] += 3  # the left half is wrong by 3, one block of it by 7
    fine[:2, :2] += 4
    plan = np.zeros((20, 30), bool)
    plan[:, :15] = True
    found = cross_scale_error(fine, coarse, plan)
    pixels = 20 * 15
    assert found["tissue"].pixels == pixels
    assert found["tissue"].mean == pytest.approx(3 + 4 / pixels)
    assert found["tissue"].rmse == pytest.approx(((9 * (pixels - 1) + 49) / pixels) ** 0.5)
    assert found["tissue"].max == pytest.approx(7)
    assert found["overall"].mean == pytest.approx(found["tissue"].mean / 2)
    assert found["overall"].pixels == 600


def test_a_level_that_averages_back_has_no_error():
    coarse = noise(3, 32, 48)
    shift = np.random.default_rng(4).integers(-20, 21, coarse.shape)
    mid = np.clip(coarse.astype(int), 20, 235)
    fine = mid.repeat(2, 0).repeat(2, 1)
    fine[::2, ::2] += shift
    fine[1::2, 1::2] -= shift
    found = cross_scale_error(fine.astype(np.uint8), mid.astype(np.uint8))
    assert found["overall"].max < 1e-3


def test_levels_of_two_slides_are_refused():
    with pytest.raises(BadInput, match="no two resolutions"):
        cross_scale_error(noise(1, 64, 64), noise(1, 32, 16))
    with pytest.raises(BadInput, match="finer"):
        cross_scale_error(noise(1, 16, 16), noise(1, 32, 32))


def test_no_tissue_is_none_not_nan():
    found = cross_scale_error(noise(1, 8, 8), noise(1, 4, 4), np.zeros((4, 4), bool))
    assert found["tissue"].mean is None
    assert found["overall"].pixels == 16


# ------------------------------------------------------------------------------------------ the whole measurement


def tiles(constraint, tile_px=64, joining="grid-shift"):
    return LevelTiles(tile_px=tile_px, joining=joining, constraint=constraint)


def test_blocks_reach_as_far_up_as_constraints_do_and_tiles_allow():
    sizes = [(64, 64), (128, 128), (256, 256), (512, 512), (1024, 1024)]
    chain = [tiles("none")] + [tiles({"kind": "null-space", "relaxation": {"steps": 2}})] * 4
    assert [block_px(sizes, chain, k) for k in range(5)] == [1, 2, 4, 8, 8]
    chain[2] = tiles("none")
    assert [block_px(sizes, chain, k) for k in range(5)] == [1, 2, 1, 2, 4]
    assert block_px([(10, 100), (10, 646)], [tiles("none"), tiles("context")], 1) == 1


@pytest.fixture
def slide(tmp_path):
    """Level 0 and two levels below it: level 1 averages back and has no seam, level 2 has a seam of 25 at 64 px."""
    rng = np.random.default_rng(5)
    pictures = [rng.normal(140, 12, (64, 64, 3))]
    for _ in range(2):
        detail = rng.normal(0, 10, np.multiply(pictures[-1].shape, (2, 2, 1)))
        mean = detail.reshape(len(detail) // 2, 2, -1, 2, 3).mean(axis=(1, 3)).repeat(2, 0).repeat(2, 1)
        pictures.append(pictures[-1].repeat(2, 0).repeat(2, 1) + detail - mean)
    rows, columns = np.indices((256, 256)) // 64
    pictures[2] += ((rows + columns) % 2 * 25)[..., None]
    for k, picture in enumerate(pictures):
        with h5py.File(tmp_path / f"level{k}.h5", "w") as file:
            file["image"] = np.clip(picture.round(), 0, 255).astype(np.uint8)
            file.attrs.update(mpp=16.0 / 2**k, level=k, slide="synthetic_001")
    plan = np.zeros((64, 64), np.uint8)
    plan[8:56, 8:60] = 255
    Image.fromarray(plan).save(tmp_path / "plan.png")
    return tmp_path


def test_measure_coherence_by_its_command(slide, root):
    chain = [
        {"tile_px": 64, "joining": "grid-shift", "constraint": "none" if k == 0 else "null-space"} for k in range(3)
    ]
    command = [sys.executable, root / "workflow/scripts/measure_coherence.py", "--levels-dir", slide]
    command += ["--plan", slide / "plan.png", "--tiles", json.dumps(chain), "--out", slide / "coherence.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((slide / "coherence.json").read_text())
    assert found["slide"] == "synthetic_001"
    top, middle, bottom = found["levels"]
    assert top["cross_scale"] is None
    assert top["seams"]["score"] is None  # one tile
    assert middle["seams"]["low"] <= 1 <= middle["seams"]["high"]
    assert middle["cross_scale"]["tissue"]["max"] <= 1
    assert middle["cross_scale"]["tissue"]["pixels"] == 48 * 52
    assert bottom["seams"]["low"] > 1.2
    assert bottom["cross_scale"]["tissue"]["mean"] > 8  # half of the tiles are off by 25
    assert (bottom["mpp"], bottom["width_px"], bottom["tile_px"]) == (4.0, 256, 64)

    (slide / "level1.h5").unlink()
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert "without a gap" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_levels_and_recipe_must_match(slide):
    with pytest.raises(BadInput, match="3 levels, but the recipe has 1"):
        measure_coherence(slide, slide / "plan.png", 50, [tiles("none")])
