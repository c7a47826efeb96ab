"""Mask to GeoJSON and back, the forms in which QuPath exports, and files that cannot be used."""

import json
import uuid

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from histogenesis.core.errors import BadInput
from histogenesis.tissue.geojson import geojson_to_mask, mask_polygons, mask_to_geojson, rasterise

SQUARE = [[[10, 10], [50, 10], [50, 40], [10, 40], [10, 10]]]
HOLE = [[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]]


def blobs(size, sigma, seed=0):
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), sigma) > 0


def feature(coordinates, name=None, kind="Polygon"):
    properties = {"objectType": "annotation"}
    if name:
        properties["classification"] = {"name": name, "color": [1, 2, 3]}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def read(tmp_path, document, size=(60, 100), scale=1.0, px=(100, 60)):
    path = tmp_path / "drawn.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return geojson_to_mask(path, size, scale, *px)


def square():
    mask = np.zeros((60, 100), bool)
    mask[10:40, 10:50] = True
    return mask


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=60, deadline=None)
def test_outlines_are_exact(mask):
    """Any mask, down to single pixels that touch at corners: polygons are valid, of the same area, and fill to the mask."""
    polygons = mask_polygons(mask)
    assert all(polygon.is_valid for polygon in polygons)
    assert sum(polygon.area for polygon in polygons) == mask.sum()
    assert np.array_equal(rasterise(polygons, mask.shape, 1.0), mask)


@pytest.mark.parametrize("scale", [1.0, 8.53, 40.0])
def test_round_trip(tmp_path, scale):
    mask = blobs((300, 400), 5)
    size_px = int(400 * scale) - 1, int(300 * scale) - 1
    document = mask_to_geojson(mask, scale, *size_px, "a")
    back, warnings = read(tmp_path, document, mask.shape, scale, size_px)
    assert (back & mask).sum() / (back | mask).sum() > 0.99
    assert not warnings
    assert any(len(item["geometry"]["coordinates"]) > 1 for item in document["features"])  # holes


def test_qupath_form():
    """What QuPath reads: a FeatureCollection of annotations with a UUID, in full-resolution pixels within the slide."""
    mask = np.zeros((10, 10), bool)
    mask[8:, 3:] = True
    document = mask_to_geojson(mask, 4.0, 39, 38, "a")
    (item,) = document["features"]
    assert document["type"] == "FeatureCollection"
    assert uuid.UUID(item["id"])
    assert item["properties"]["objectType"] == "annotation"
    assert item["properties"]["classification"]["name"] == "Tissue"
    assert shapely.geometry.shape(item["geometry"]).bounds == (12, 32, 39, 38)
    assert mask_to_geojson(np.zeros((5, 5), bool), 4.0, 20, 20)["features"] == []


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [feature(SQUARE, "Tissue")]},
        [feature(SQUARE, "Tissue")],
        feature(SQUARE),
        {"type": "Polygon", "coordinates": SQUARE},
        feature([SQUARE], "tissue", "MultiPolygon"),
        [feature(SQUARE, "Tissue: Fat")],
        {
            "type": "GeometryCollection",
            "geometries": [{"type": "Polygon", "coordinates": SQUARE}, {"type": "Point", "coordinates": [1, 2]}],
        },
        [
            {
                "type": "Feature",
                "geometry": {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": SQUARE}]},
                "properties": {"classification": {"names": ["Tissue"]}},
            }
        ],
        [{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": SQUARE}, "properties": None}],
    ],
)
def test_forms_of_geojson(tmp_path, document):
    mask, _ = read(tmp_path, document)
    assert np.array_equal(mask, square())


def test_holes_and_classes(tmp_path):
    """Holes stay; Ignore* and Artifact are cut out; other classes are passed over, and said to be."""
    hole = square()
    hole[20:30, 20:30] = False
    assert np.array_equal(read(tmp_path, feature([*SQUARE, HOLE]))[0], hole)
    for name in ("Ignore*", "Artifact", "artifact: fold"):
        assert np.array_equal(read(tmp_path, [feature([HOLE], name), feature(SQUARE, "Tissue")])[0], hole)
    mask, warnings = read(tmp_path, [feature([HOLE], "Tumor"), feature(SQUARE)])
    assert np.array_equal(mask, square())
    assert "tumor" in warnings[0]


def test_overlapping_and_twisted_areas(tmp_path):
    """Areas that overlap are joined, not cancelled; a bow tie is mended."""
    assert np.array_equal(read(tmp_path, [feature(SQUARE), feature([HOLE])])[0], square())
    bow = [[[0, 0], [40, 40], [40, 0], [0, 40], [0, 0]]]
    assert abs(read(tmp_path, feature(bow))[0].sum() - 800) < 45


@pytest.mark.parametrize(
    "document, message",
    [
        ("{broken", "not GeoJSON"),
        ("", "not GeoJSON"),
        ("[]", "holds no area"),
        ('{"type": "FeatureCollection", "features": []}', "holds no area"),
        ('{"a": 1}', "no GeoJSON of areas"),
        ("3", "no GeoJSON of areas"),
        ([feature([1, 2], None, "Point")], "holds no area"),
        ([feature([[[0, 0], [1, "x"], [1, 1], [0, 0]]])], "no GeoJSON of areas"),
        ([feature([[[0, 0], [1, 0]]])], "no GeoJSON of areas"),
        ('[{"type": "Polygon", "coordinates": [[[0, 0], [NaN, 5], [5, 5], [0, 0]]]}]', "no GeoJSON of areas"),
        ([feature(SQUARE, "Tumor")], "no area is classified Tissue"),
        ([feature([[[x + 500, y] for x, y in SQUARE[0]]])], "outside the slide"),
    ],
)
def test_unusable_files_are_named(tmp_path, document, message):
    with pytest.raises(BadInput, match=message) as error:
        read(tmp_path, document)
    assert "drawn.geojson" in str(error.value)
    assert "QuPath" in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        geojson_to_mask(tmp_path / "none.geojson", (5, 5), 1.0, 5, 5)
