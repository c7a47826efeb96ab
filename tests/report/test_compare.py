"""Runs side by side, against made-up runs whose numbers are known; and the picture grid."""

import csv
import json
import shutil
from itertools import pairwise

import h5py
import numpy as np
import pytest
import yaml
from made_up import MPPS
from PIL import Image

from histogenesis.canvas.canvas import write_level
from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import SEAL, attributes_digest
from histogenesis.metrics.coherence.strips import read_plan
from histogenesis.recipe import load_recipe, parse_recipe
from histogenesis.report import cost
from histogenesis.report.compare import compare_runs, differences, method_of, read_arm, upper_bound
from histogenesis.report.compare_page import write_comparison
from histogenesis.report.scale_grid import (
    GAP_PX,
    LABEL_PX,
    TITLE_PX,
    Row,
    centre_of,
    crops_of,
    draw_grid,
    real_crops,
    scale_grid,
    sizes_of,
)


def metric(name, value, mpp=None, encoder="learned", floor=1.5):
    ends = {"low": value - 1, "high": value + 1, "floor": floor, "floor_low": floor - 0.5, "floor_high": floor + 0.5}
    about = {"name": name, "encoder": encoder, "mpp": mpp, "value": value, "note": "", "file": ""}
    return about | ends | {"better": "lower", "n_real": 40, "n_generated": 40}


RECIPE = {
    "slides": {"phantoms": [{"name": "a"}]},
    "patches": {"main": {"size_px": 32, "mpps": MPPS}},
    "models": {"unet": {"path": "elsewhere/unet"}},
}
TOP = {"mpp": 16, "size_px": [40, 56], "model": "unet", "tile_px": 32, "sampler": {"kind": "heun", "steps": 3}}
DRAWN = {"model": "unet", "tile_px": 32, "constraint": {"kind": "null-space", "relaxation": {"steps": 2}}}
DRAWN |= {"sampler": {"kind": "euler", "steps": 8}, "joining": {"kind": "independent"}}
ARMS = {
    "drawn": [TOP, DRAWN | {"mpp": 8}, DRAWN | {"mpp": 4}],
    "bicubic": [TOP, *({"kind": "upscale", "mpp": mpp, "method": {"kind": "bicubic"}} for mpp in (8, 4))],
}


@pytest.fixture
def runs(original_run, tmp_path):
    """Two copies of the made-up run, with metrics, an audit and a recipe of their own."""
    folders = []
    for n, (name, levels) in enumerate(ARMS.items()):
        folder = tmp_path / "results" / name
        shutil.copytree(original_run, folder)
        recipe = {"run": name, **RECIPE, "synthetic": {"levels": levels}}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        metrics = [metric("fid", 10.0 + n), metric("fid", 20.0 + n, mpp=8.0), metric("kid", 0.25 + n, encoder="stain")]
        (folder / "evaluation/metrics.json").write_text(json.dumps(metrics))
        audit = {"verdict": ["clear", "copies"][n], "encoder": "learned", "sentence": f"Sentence {n}."}
        (folder / "evaluation/memorisation.json").write_text(json.dumps(audit))
        folders.append(folder)
    return folders


def test_the_table_holds_each_number_with_interval_and_floor(runs, tmp_path):
    write_comparison(runs, tmp_path / "out")
    with open(tmp_path / "out/comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    fid = {row["run"]: row for row in rows if row["name"] == "fid" and row["mpp"] == "8.0"}
    assert (fid["drawn"]["value"], fid["drawn"]["low"], fid["drawn"]["high"]) == ("20.0", "19.0", "21.0")
    assert (fid["bicubic"]["value"], fid["bicubic"]["floor"], fid["bicubic"]["floor_high"]) == ("21.0", "1.5", "2.0")
    assert (fid["real tissue"]["value"], fid["real tissue"]["low"]) == ("1.5", "1.0"), "the upper bound is a row"
    assert rows[0]["run"] == "real tissue"
    verdicts = {row["run"]: row["text"] for row in rows if row["group"] == "memorisation"}
    assert verdicts == {"drawn": "clear", "bicubic": "copies"}
    found = json.loads((tmp_path / "out/comparison.json").read_text())
    assert [run["run"] for run in found["runs"]] == ["drawn", "bicubic"] and found["differences"] == []
    assert found["runs"][1]["folder"] == "../results/bicubic"
    assert [run["method"] for run in found["runs"]] == ["drawn, null-space, free below sigma 0.0352", "bicubic"]
    measured = json.loads((runs[0] / "evaluation/synthetic_001/coherence.json").read_text())["levels"]
    seams = [n["value"] for n in found["runs"][0]["numbers"] if n["name"] == "seam_score"]
    assert seams == [level["seams"]["score"] for level in measured if level["seams"]["score"] is not None]


def test_the_page_opens_alone_and_says_the_same(runs, tmp_path):
    write_comparison(runs, tmp_path / "out")
    page = (tmp_path / "out/comparison.html").read_text()
    assert "10.0 (9 to 11)" in page.replace("10 (", "10.0 (") and "1.50 (1 to 2)" in page
    assert "copies of training tissue: copies. Sentence 1." in page and "fid ↓" in page
    assert "data:image/" in page and 'src="http' not in page and "<script src" not in page
    assert Image.open(tmp_path / "out/scales.png").width > 3 * 200


def test_network_evaluations_are_those_of_the_drawing(runs, tmp_path):
    """Level 0: heun, 3 steps, 5 passes; levels 1, 2: 8 passes over the tiles of a fixed grid that hold tissue."""
    plan, recipe = read_plan(runs[0] / "synthetic/synthetic_001/plan.png"), load_recipe(runs[0] / "recipe.yaml")
    from histogenesis.canvas.engine import Drawing
    from histogenesis.canvas.task import Bundle
    from histogenesis.models.model import Normalisation

    asked, first = [], recipe.synthetic.levels[0].model_copy(update={"batch": 1})
    bundle = Bundle(lambda x, *told: asked.append(1) or 0 * x, Normalisation.unit())
    Drawing(first, (40, 56), 0, 1, "synthetic_001", [bundle]).run(tmp_path)
    count = len(asked)
    for scale in (2, 4):
        mask = plan.repeat(scale, 0).repeat(scale, 1)
        corners = [(y, x) for y in range(0, mask.shape[0], 32) for x in range(0, mask.shape[1], 32)]
        count += 8 * sum(mask[y : y + 32, x : x + 32].any() for y, x in corners)
    found = cost.evaluations(recipe, {"synthetic_001": plan})
    assert found["evaluations_per_megapixel"] == pytest.approx(count * 1e6 / (160 * 224))
    assert found["evaluations_per_pixel"] == pytest.approx(count * 32**2 / (160 * 224))
    of_level_0 = len(asked) * 1e6 / (160 * 224)
    bicubic = cost.evaluations(load_recipe(runs[1] / "recipe.yaml"), {"synthetic_001": plan})
    assert bicubic["evaluations_per_megapixel"] == pytest.approx(of_level_0), "interpolation asks no network"


def test_evaluations_of_a_level_drawn_tile_by_tile(root, tmp_path):
    """The tiny urcdm: every network of every tile, with the steps that are taken twice, and without white tiles."""
    recipe, plan = load_recipe(root / "config/test/urcdm.yaml"), np.ones((32, 32), bool)
    count = lambda k, **more: [t for t in cost.tiles_of(recipe, k, "synthetic_001", plan, **more)]  # noqa: E731
    assert count(0) == [(8, 16), (16, 16), (32, 4)]
    assert sorted(count(1)) == [(8, 4 + 3)] * 9 + [(16, 7)] * 9 + [(32, 7)] * 9
    assert len(count(2)) == 3 * 64 and set(count(2)) == {(8, 4), (16, 4), (32, 4)}
    rows = np.full((80, 80, 3), 250, np.uint8)
    rows[:9, :9] = 100
    write_level(tmp_path / "level1.h5", [(0, rows)], 80, 80, {"mpp": 12.8})
    assert len(count(2, above=tmp_path / "level1.h5")) == 3, "all tiles but one are white"
    found = cost.evaluations(recipe, {"synthetic_001": plan})
    assert found["evaluations_per_megapixel"] == pytest.approx((36 + 27 * 7 + 192 * 4) * 1e6 / 200**2)


def test_seconds_come_from_the_benchmarks(runs):
    found = {n["name"]: n["value"] for n in read_arm(runs[0]).numbers if n["group"] == "cost"}
    assert found["seconds_per_megapixel"] == pytest.approx((31.0 + 12.5) * 1e6 / (160 * 224))
    assert found["training_seconds"] == pytest.approx(75.2)


def test_what_makes_runs_unlike_is_said(runs):
    assert differences(compare_runs(runs)) == []
    with h5py.File(runs[1] / "synthetic/synthetic_001/level0.h5", "r+") as file:
        file["image"][0, 0] = 7
    (runs[1] / "splits.tsv").write_text((runs[1] / "splits.tsv").read_text().replace("colon_1", "colon_9"))
    found = " ".join(differences(compare_runs(runs)))
    assert "Not the same level 0 as drawn: bicubic." in found and "Not the same held-out slides or regions" in found
    assert "real patches" not in found


def test_only_the_patches_that_are_compared_with_must_be_alike(runs):
    """What else a recipe cuts to train its networks is its own affair."""
    cut = runs[1] / "patches/wider"
    shutil.copytree(runs[1] / "patches/main", cut)
    recipe = yaml.safe_load((runs[1] / "recipe.yaml").read_text())
    recipe["patches"]["wider"] = {"size_px": 32, "mpps": [64]}
    for run in runs:
        kept = yaml.safe_load((run / "recipe.yaml").read_text()) if run == runs[0] else recipe
        (run / "recipe.yaml").write_text(yaml.safe_dump(kept | {"evaluation": {"patches": "main"}}))
    assert differences(compare_runs(runs)) == []
    with h5py.File(next(iter(sorted((runs[1] / "patches/main").glob("*.h5")))), "r+") as file:
        file.attrs["imgs_sha256"] = "another"
        file.attrs[SEAL] = attributes_digest(file)
    assert "Not the same real patches as drawn: bicubic." in differences(compare_runs(runs))


def test_a_run_with_nothing_in_it_is_still_listed(runs, tmp_path):
    (tmp_path / "results/empty").mkdir()
    write_comparison([*runs, tmp_path / "results/empty"], tmp_path / "out")
    page = (tmp_path / "out/comparison.html").read_text()
    assert "empty: copies of training tissue were not looked for" in page and "No picture grid" in page
    assert {row["run"] for row in upper_bound(compare_runs(runs))} == {"real tissue"}


def test_wrong_calls_are_refused_with_the_remedy(runs):
    with pytest.raises(BadInput, match="two runs or more"):
        compare_runs(runs[:1])
    with pytest.raises(BadInput, match="no such run"):
        compare_runs([runs[0], runs[0].parent / "absent"])
    shutil.copy(runs[0] / "recipe.yaml", runs[1] / "recipe.yaml")
    with pytest.raises(BadInput, match=r"same name.*change `run:`"):
        compare_runs(runs)


def test_methods_are_named_by_what_makes_the_finer_levels():
    def named(levels):
        return method_of(parse_recipe({"run": "r", **RECIPE, "synthetic": {"levels": levels}}))

    strict = DRAWN | {"mpp": 8, "constraint": {"kind": "null-space"}}
    free = DRAWN | {"mpp": 4, "constraint": {"kind": "null-space", "relaxation": {"sigma": 0.3}}}
    assert named([TOP, strict]) == "drawn, null-space, r = 0"
    assert named([TOP, strict, free]) == "drawn, null-space, r = 0; drawn, null-space, free below sigma 0.3"
    assert named([TOP]) == "drawn at one level"


def test_each_column_is_the_centre_of_the_one_before(tmp_path):
    """Levels that are one picture at several scales: a crop, averaged, is the middle of the crop before it."""
    rng, plan = np.random.default_rng(0), np.zeros((40, 56), bool)
    plan[10:34, 20:50] = True
    finest = rng.integers(0, 256, (160, 224, 3)).astype(np.uint8)
    for k, step in enumerate((4, 2, 1)):
        image = finest.reshape(160 // step, step, 224 // step, step, 3).mean(axis=(1, 3)).astype(np.uint8)
        with h5py.File(tmp_path / f"level{k}.h5", "w") as file:
            file["image"] = image
            file.attrs["mpp"] = 4.0 * step
    centre = centre_of(plan, 16)
    assert (abs(centre[0] - 20) <= 6 and abs(centre[1] - 28) <= 6) and plan[centre]
    mpps = list(sizes_of(tmp_path))
    crops = crops_of(tmp_path, mpps, (centre[0] / 40, centre[1] / 56), 16)
    assert mpps == [16, 8, 4] and all(crop.shape == (16, 16, 3) for crop in crops)
    for before, after in pairwise(crops):
        middle = before[4:12, 4:12].astype(int)
        assert np.abs(after.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3)) - middle).max() <= 2
    grid = np.asarray(draw_grid([Row("one", crops), Row("two", crops)], mpps))
    cells = (grid != 255).any(axis=2).sum()
    assert cells > 6 * 250**2, "six cells are filled"


def write_slide(folder, sizes):
    folder.mkdir()
    for k, (mpp, side) in enumerate(sizes.items()):
        image = np.full((side, side, 3), 10 * mpp, np.uint8)
        write_level(folder / f"level{k}.h5", [(0, image)], side, side, {"mpp": float(mpp)})
    Image.new("L", (sizes[max(sizes)],) * 2, 255).save(folder / "plan.png")


def test_runs_of_other_levels_are_shown_at_the_resolutions_that_they_share(tmp_path):
    """Ladders 16, 4, 1 and 8, 4, 2, 1: columns for 4 and 1, as large as the smallest canvas among them allows."""
    write_slide(tmp_path / "a", {16: 20, 4: 80, 1: 320})
    write_slide(tmp_path / "b", {8: 30, 4: 60, 2: 120, 1: 240})
    grid = np.asarray(scale_grid({"a": tmp_path / "a", "b": tmp_path / "b"}))
    cell = 60 * 4
    assert grid.shape[:2] == (TITLE_PX + 2 * (cell + GAP_PX), LABEL_PX + 2 * (cell + GAP_PX))
    row = grid[TITLE_PX + cell + GAP_PX + cell // 2]
    assert (row[LABEL_PX + cell // 2] == 40).all() and (row[LABEL_PX + GAP_PX + cell + cell // 2] == 10).all()
    write_slide(tmp_path / "c", {5: 64})
    with pytest.raises(BadInput, match=r"no resolution that all slides have.*c: 5"):
        scale_grid({"a": tmp_path / "a", "c": tmp_path / "c"})


def test_the_last_row_is_real_held_out_tissue_of_the_columns_resolution(original_run):
    held_out = original_run / "patches/main/colon_3.h5"
    fields = real_crops(original_run / "patches/main", original_run / "splits.tsv", [8.0, 1.0], 40)
    with h5py.File(held_out) as file:
        real = file["imgs"][:][file["mpp"][:] == 8.0]
    assert any(np.array_equal(fields[0][:32, :32], patch) for patch in real)
    assert np.all(fields[1] == 255), "no patch at 1 mpp"
    assert real_crops(original_run / "patches/none", original_run / "splits.tsv", [8.0], 40) is None
