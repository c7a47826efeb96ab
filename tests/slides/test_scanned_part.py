"""A plane that is larger than what was scanned of it (a Leica SCN): whose coordinates are whose, in outlines and in patches."""

import json

import h5py
import numpy as np
import openslide
import pytest
import shapely
import tifffile
from small_slides import CENTIMETRE, halves, record_of

from histogenesis.patches.cut import cut_slide
from histogenesis.recipe import PatchSet, Tissue
from histogenesis.slides.read import open_slide
from histogenesis.tissue.files import segment_slide

SCN = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:0">
<collection name="c" uuid="urn:uuid:9" sizeX="{0}" sizeY="{1}"><barcode>QQ==</barcode>{2}</collection></scn>"""
SCN_IMAGE = """<image name="{name}" uuid="urn:uuid:{first}"><creationDate>2020-01-01T00:00:00Z</creationDate>
<device model="m" version="1"/><pixels sizeX="{w}" sizeY="{h}">{levels}</pixels>
<view sizeX="{view[0]}" sizeY="{view[1]}" offsetX="{at[0]}" offsetY="{at[1]}" spacingZ="0"/><scanSettings><objectiveSettings>
<objective>{objective}</objective></objectiveSettings><illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"""


def write_scn(path, pixels, x, y, plane):
    """A Leica SCN: `pixels` at (x, y) of a plane (width, height), 0.5 mpp; only that part was scanned."""
    nm, levels, macro = 500, halves(pixels), np.full((100, 120, 3), 240, np.uint8)

    def image(name, pages, first, view, at, objective):
        sizes = enumerate((page.shape[1], page.shape[0]) for page in pages)
        listed = "".join(f'<dimension sizeX="{w}" sizeY="{h}" r="{k}" ifd="{first + k}"/>' for k, (w, h) in sizes)
        (h, w), nanometres = pages[0].shape[:2], [[n * nm for n in pair] for pair in (view, at)]
        return SCN_IMAGE.format(
            name=name, first=first, w=w, h=h, levels=listed, view=nanometres[0], at=nanometres[1], objective=objective
        )

    images = image("macro", [macro], 0, plane, (0, 0), "0.6")
    images += image("main", levels, 1, pixels.shape[1::-1], (x, y), "20")
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        options = {"tile": (128, 128), "compression": "deflate", "photometric": "rgb", "metadata": None} | CENTIMETRE
        tiff.write(macro, description=SCN.format(plane[0] * nm, plane[1] * nm, images), **options)
        for level in levels:
            tiff.write(level, **options)
    return path


def test_coordinates_are_those_of_the_scanned_part(tmp_path, pixels):
    """OpenSlide's bounds, which QuPath crops to: (0, 0) is where they begin."""
    path = write_scn(tmp_path / "s.scn", pixels, 1000, 600, (3000, 2000))
    with openslide.OpenSlide(str(path)) as other, open_slide(path) as slide:
        assert other.dimensions == (3000, 2000) and other.properties["openslide.bounds-x"] == "1000"
        assert (slide.width_px, slide.height_px, slide.origin_px) == (640, 768, (1000, 600))
        assert np.array_equal(slide.read(100, 50, 256, 0.5), pixels[50:306, 100:356])
        assert slide.overview(0.5).shape == (768, 640, 3) and not slide.unscanned(8.0).any()


def outline(path, rows, **properties):
    """A GeoJSON with one rectangle (x0, y0, x1, y1) for each of `rows`, all annotations with these properties."""
    features = []
    for x0, y0, x1, y1 in rows:
        ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        about = {"objectType": "annotation", **properties}
        features.append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": about}
        )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture(scope="module")
def bounded(tmp_path_factory, cmu_slide):
    """A slide with bounds, tissue in the middle of its scanned part alone; its record."""
    folder = tmp_path_factory.mktemp("bounds")
    with openslide.OpenSlide(str(cmu_slide)) as slide:
        tissue = np.asarray(slide.read_region((800, 2000), 0, (400, 400)))[..., :3]
    scan = np.full((1000, 1200, 3), (244, 243, 245), np.uint8)
    scan[500:900, 700:1100] = tissue
    write_scn(folder / "s.scn", scan, 2000, 1500, (4000, 3000))
    (folder / "s.json").write_text(json.dumps(record_of(folder / "s.scn", folder)))
    return folder


def segmented(folder, edited=None):
    return segment_slide(folder / "s.json", folder, Tissue(mpp=8), folder / "tissue", edited)


def test_our_outline_is_where_qupath_shows_the_tissue(bounded):
    """QuPath crops to the bounds: its (0, 0) is theirs. The tissue lies at x 700 to 1100, y 500 to 900 there."""
    qc = segmented(bounded)
    assert qc["error"] is None
    drawn = json.loads((bounded / "tissue/tissue.geojson").read_text())
    shape = shapely.union_all([shapely.geometry.shape(f["geometry"]) for f in drawn["features"]])
    there = shapely.box(684, 484, 1116, 916)  # a pixel of the mask, 16 of the slide, about it
    assert shape.intersection(there).area > 0.95 * shape.area and shape.area > 0.8 * there.area


def test_a_drawing_of_qupath_gives_tissue_and_another_frame_is_told(bounded):
    right = segmented(bounded, outline(bounded / "a.geojson", [(720, 520, 1080, 880)]))
    assert right["error"] is None and right["area_mm2"] == pytest.approx(0.18**2, rel=0.1)
    for box, words in (
        ((2720, 2020, 3080, 2380), "counted from the corner of the whole plane"),
        ((360, 260, 540, 440), "in micrometres"),
        ((720, 120, 1080, 480), "upside down"),
        ((20, 40, 90, 80), "0% of the drawn tissue is stained: export"),
    ):
        error = segmented(bounded, outline(bounded / "b.geojson", [box]))["error"]
        assert error and "0% of the drawn tissue is stained" in error and words in error


def test_only_annotations_count_and_only_tissue_if_anything_is_called_so(bounded):
    whole, tissue = (0, 0, 1200, 1000), (720, 520, 1080, 880)
    cells = json.loads(outline(bounded / "c.geojson", [whole], objectType="detection").read_text())["features"]
    plain = json.loads(outline(bounded / "c.geojson", [whole]).read_text())["features"]
    named = json.loads(outline(bounded / "c.geojson", [tissue], classification={"name": "Tissue"}).read_text())[
        "features"
    ]
    (bounded / "c.geojson").write_text(json.dumps(cells + plain + named))
    qc = segmented(bounded, bounded / "c.geojson")
    assert qc["area_mm2"] == pytest.approx(0.18**2, rel=0.1)
    assert any("1 annotation(s) without a class passed over" in line for line in qc["warnings"])
    (bounded / "c.geojson").write_text(json.dumps(cells))
    assert "no area that is an annotation" in segmented(bounded, bounded / "c.geojson")["error"]


def test_patches_are_counted_from_the_scan_and_for_other_tools_from_the_plane(bounded):
    segmented(bounded)
    options = PatchSet(size_px=64, mpps=[0.5], placement="grid", min_tissue=0.9)
    files = [bounded / name for name in ("s.h5", "s.png", "coords")]
    cut = cut_slide(bounded / "s.json", bounded, bounded / "tissue", options, 1, *files)
    with openslide.OpenSlide(str(bounded / "s.scn")) as other, h5py.File(bounded / "s.h5") as file:
        with h5py.File(bounded / "coords/0.5mpp/patches/s.h5") as clam:
            assert np.array_equal(clam["coords"][:], file["coords"][:] + np.array([2000, 1500])) and len(cut.coords) > 5
            for place, patch in zip(clam["coords"][:], file["imgs"][:]):  # as CLAM's reader reads them
                theirs = other.read_region(tuple(int(v) for v in place), 0, (64, 64))
                assert np.array_equal(np.asarray(theirs)[..., :3], patch)
