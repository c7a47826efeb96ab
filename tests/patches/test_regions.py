"""Patches from regions that a person drew: inside them, of their class, at exactly the field of view that was asked for."""

import json

import h5py
import numpy as np
import pytest
import shapely
import tifffile

from histogenesis.patches.regions import cut_regions
from histogenesis.patches.store import read_texts
from histogenesis.recipe import RegionPatches
from histogenesis.slides.read import open_slide
from histogenesis.slides.table import SlideRow, register

OVAL = shapely.Point(150, 120).buffer(90)
BOX = shapely.box(230, 40, 420, 300)  # overlaps the oval's right end
HOLED = shapely.difference(shapely.box(20, 240, 220, 380), shapely.box(100, 290, 140, 330))


def annotated(folder, *named):
    features = [
        {"type": "Feature", "geometry": json.loads(shapely.to_geojson(area)),
         "properties": {"classification": {"name": name}}}
        for name, area in named
    ]  # fmt: skip
    (folder / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return folder / "regions.geojson"


@pytest.fixture
def slide(tmp_path, monkeypatch):
    monkeypatch.setenv("HISTOGENESIS_SLIDE_ROOT", str(tmp_path))
    picture = np.random.default_rng(1).integers(0, 256, (400, 440, 3), np.uint8)
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 mpp
    tifffile.imwrite(tmp_path / "s.tif", picture, tile=(64, 64), photometric="rgb", compression="deflate", **resolution)
    record = register(SlideRow(slide="s", path="s.tif", patient="p"), tmp_path)
    assert record["error"] is None
    (tmp_path / "s.json").write_text(json.dumps(record))
    return tmp_path


def cut(folder, geojson, **values):
    section = {"kind": "regions", "size_px": 16, "mpps": [0.75], "classes": ["Normal", "Tumour"], "per_slide": 60}
    options = RegionPatches(**section | values)
    out = folder / "out" / "s.h5"
    out.parent.mkdir(exist_ok=True)
    return cut_regions(folder / "s.json", folder, geojson, options, 1, out, folder / "s.png", folder / "coords"), out


def test_patches_lie_in_regions_of_their_class_and_in_no_other(slide):
    found, out = cut(slide, annotated(slide, ("Normal", OVAL), ("Tumour", BOX), ("Tumour", HOLED), ("Pen", BOX)))
    assert not found.error and not found.skipped
    side = 16 * 0.75 / 0.5
    areas = {"Normal": OVAL, "Tumour": shapely.union(BOX, HOLED)}
    with h5py.File(out) as file:
        labels, coords = read_texts(file, "label"), file["coords"][:]
    assert {name: int((labels == name).sum()) for name in areas} == {"Normal": 60, "Tumour": 60}
    for label, (x, y) in zip(labels, coords):
        patch = shapely.box(x, y, x + side, y + side)
        other = areas["Tumour" if label == "Normal" else "Normal"]
        assert shapely.intersection(patch, areas[label]).area == pytest.approx(side**2, rel=1e-6)
        assert shapely.intersection(patch, other).area == pytest.approx(0, abs=1e-6)


def test_pixels_are_the_slides_at_the_very_mpp(slide):
    found, out = cut(slide, annotated(slide, ("Normal", OVAL)), mpps=[0.75, 1.0])
    with open_slide(slide / "s.tif") as opened, h5py.File(out) as file:
        assert sorted(set(file["mpp"][:])) == [0.75, 1.0]
        for k in (0, 59, 60, len(found.coords) - 1):
            (x, y), mpp = file["coords"][k], file["mpp"][k]
            assert np.array_equal(file["imgs"][k], opened.read(int(x), int(y), 16, mpp))


def test_a_share_of_a_patch_may_lie_outside_if_the_recipe_says_so(slide):
    strip = shapely.box(100, 100, 120, 360)  # narrower than a patch of 24 px
    whole, _ = cut(slide, annotated(slide, ("Normal", strip)))
    assert len(whole.coords) == 0 and "no region of class Normal, Tumour holds a patch of 12 um" in whole.skipped[0.75]
    partly, _ = cut(slide, annotated(slide, ("Normal", strip)), min_inside=0.8)
    assert len(partly.coords) == 60
    boxes = shapely.box(*partly.coords.T, *(partly.coords + 24).T)
    assert (shapely.area(shapely.intersection(boxes, strip)) / 24**2 >= 0.8 - 1e-9).all()


def test_the_same_places_every_time_and_a_slide_without_regions_has_none(slide):
    geojson = annotated(slide, ("normal", OVAL), ("TUMOUR", BOX))
    (first, out), content = cut(slide, geojson), (slide / "out/s.h5").read_bytes()
    assert len(first.coords) == 120, "QuPath's classes are told whatever their case"
    cut(slide, geojson)
    assert out.read_bytes() == content
    none, out = cut(slide, None)
    assert len(none.coords) == 0 and not none.error
    with h5py.File(out) as file:
        assert file["imgs"].shape == (0, 16, 16, 3) and file["label"].shape == (0,)


def test_an_mpp_finer_than_the_slide_and_a_broken_file_are_named(slide):
    found, _ = cut(slide, annotated(slide, ("Normal", OVAL)), mpps=[0.25, 0.75])
    assert found.skipped[0.25] == "finer than the slide's 0.5 mpp" and len(found.coords) == 60
    (slide / "regions.geojson").write_text("{")
    broken, out = cut(slide, slide / "regions.geojson")
    assert "is not GeoJSON" in broken.error
    with h5py.File(out) as file:
        assert "is not GeoJSON" in file.attrs["error"]
