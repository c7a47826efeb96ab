"""Tissue as GeoJSON that QuPath reads and writes: full-resolution pixels, origin top left, holes kept."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import shape as geometry_of

from histogenesis.core.errors import BadInput

TISSUE = "Tissue"
COLOUR = [0, 160, 0]
CUT_OUT = ("ignore", "artifact", "artefact")  # and what begins so, such as QuPath's own `Ignore*`
REMEDY = (
    "export it again from QuPath (File > Export objects as GeoJSON), of this slide, or leave the column `tissue` empty"
)


def mask_to_geojson(mask: np.ndarray, scale: float, width_px: int, height_px: int, slide: str = "") -> dict:
    """A mask as a QuPath FeatureCollection of annotations classified Tissue.

    mask: bool (h, w); scale: slide pixels per mask pixel; width_px, height_px: the slide's full resolution, beyond which
    nothing reaches. Outlines follow the pixels' borders, so that the way back gives the same mask.
    """
    features = []
    for k, outline in enumerate(mask_polygons(mask)):
        part = shapely.transform(outline, lambda xy: np.minimum(xy * scale, [width_px, height_px]).round(2))
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{slide}/{TISSUE}/{k}")),
                "geometry": json.loads(shapely.to_geojson(part)),
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": TISSUE, "color": COLOUR},
                    "isLocked": False,
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}


def mask_polygons(mask: np.ndarray) -> list[shapely.Polygon]:
    """The 4-connected parts of a mask as polygons with holes, along the pixels' borders, in mask pixels.

    The borders between tissue and not are cut into straight runs that end wherever another begins, and the faces that they
    enclose are kept where the mask is true: exact, so that filling them gives the mask back.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    runs = np.concatenate([border_runs(np.diff(padded, axis=0)), border_runs(np.diff(padded, axis=1).T)[:, :, ::-1]])
    if not len(runs):
        return []
    faces = shapely.get_parts(shapely.polygonize(list(shapely.linestrings(runs))))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces)).astype(int)
    faces = faces[mask[inside[:, 1], inside[:, 0]]]
    return sorted(faces, key=lambda face: (-face.area, face.bounds))


def border_runs(steps: np.ndarray) -> np.ndarray:
    """Runs of equal, non-zero steps along rows: (n, 2, 2) of (x, y) ends, where row y of `steps` is the border above y."""
    edges = np.diff(np.pad(steps, ((0, 0), (1, 1))), axis=1) != 0
    rows, columns = np.nonzero(edges)
    pairs = (rows[:-1] == rows[1:]) & (steps[rows[:-1], np.minimum(columns[:-1], steps.shape[1] - 1)] != 0)
    y, x_from, x_to = rows[:-1][pairs], columns[:-1][pairs] - 1, columns[1:][pairs] - 1
    return np.stack([np.stack([x_from, y], 1), np.stack([x_to, y], 1)], axis=1).astype(float)


def geojson_to_mask(
    path: Path, size: tuple[int, int], scale: float, width_px: int, height_px: int
) -> tuple[np.ndarray, list[str]]:
    """Read tissue that a person drew or corrected (`drawn_areas`). Returns bool (h, w) and warnings.

    size: (h, w) of the mask; scale: slide pixels per mask pixel. A mask pixel is tissue if its centre is. Raises BadInput for a
    file that is broken, holds no tissue, or lies outside the slide.
    """
    tissue, cut, warnings = drawn_areas(Path(path))
    check_inside(path, tissue, width_px, height_px)
    return areas_to_mask(tissue, cut, size, scale), warnings


def areas_to_mask(tissue: list, cut: list, size: tuple[int, int], scale: float) -> np.ndarray:
    """Where pixel centres lie in tissue and not in what is cut out of it. bool (h, w)"""
    return rasterise(tissue, size, scale) & ~rasterise(cut, size, scale)


def drawn_areas(path: Path) -> tuple[list[shapely.Geometry], list[shapely.Geometry], list[str]]:
    """(tissue, what is cut out of it, warnings) of a GeoJSON file.

    Of the annotations (cells, tiles and detections are none) those classified Tissue count, or, if none is, those without a
    class; those classified Ignore* or Artifact are cut out of them; others are passed over. Raises BadInput.
    """
    found = read_features(path)
    tissue = [area for name, area in found if name == TISSUE.lower()]
    unclassified = [area for name, area in found if name == ""]
    ignored = len(unclassified) if tissue else 0
    tissue = tissue or unclassified
    cut = [area for name, area in found if name.startswith(CUT_OUT)]
    passed = sorted({name for name, _ in found if name not in ("", TISSUE.lower()) and not name.startswith(CUT_OUT)})
    if not tissue:
        classes = f" (only of class {', '.join(passed)})" if passed else ""
        raise BadInput(f"{path}: no area is classified Tissue, or is without a class{classes}: {REMEDY}")
    warnings = [f"{path.name}: class {', '.join(passed)} passed over"] if passed else []
    if ignored:
        warnings.append(
            f"{path.name}: {ignored} annotation(s) without a class passed over: others are classified Tissue"
        )
    return tissue, cut, warnings


def check_inside(path: Path, tissue: list[shapely.Geometry], width_px: int, height_px: int) -> None:
    """Raises BadInput where most of the tissue lies outside the slide."""
    frame = shapely.box(0, 0, width_px, height_px)
    whole = shapely.union_all(tissue)
    if whole.intersection(frame).area < 0.5 * whole.area:
        x0, y0, x1, y1 = whole.bounds
        raise BadInput(
            f"{path}: the tissue (x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}) lies outside the slide"
            f" ({width_px} x {height_px} px at full resolution): {REMEDY}"
        )


def read_features(path: Path) -> list[tuple[str, shapely.Geometry]]:
    """(class in lower case or "", area) of every feature, in any of the forms in which QuPath has exported.

    A FeatureCollection, a bare list of features, one feature or one geometry; polygons, multipolygons and collections.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"{path}: there is no such file: correct the column `tissue` of the slide table") from None
    except ValueError as error:
        raise BadInput(f"{path}: is not GeoJSON ({error}): {REMEDY}") from None
    try:
        found = []
        for feature in features_of(document):
            if not is_annotation(feature):
                continue
            geometry = geometry_of(feature["geometry"])
            areas = [part for part in leaves(geometry) if part.geom_type == "Polygon"]
            if areas:
                areas = [part if part.is_valid else shapely.make_valid(part) for part in areas]
                found.append((class_of(feature), shapely.union_all(areas)))
        if not all(np.isfinite(area.bounds).all() for _, area in found):
            raise ValueError("coordinates that are not finite")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise BadInput(f"{path}: is JSON, but no GeoJSON of areas ({error!r}): {REMEDY}") from None
    if not found:
        raise BadInput(f"{path}: holds no area that is an annotation: {REMEDY}")
    return found


def features_of(document: dict | list) -> list[dict]:
    """The features of any form of GeoJSON; those without a geometry are left out."""
    if isinstance(document, list):
        return [feature for item in document for feature in features_of(item)]
    if document["type"] == "FeatureCollection":
        return features_of(document["features"])
    if document["type"] == "Feature":
        return [document] if document.get("geometry") else []
    return [{"geometry": document}]


def is_annotation(feature: dict) -> bool:
    """Whether a feature is what a person draws in QuPath, and no cell, tile, core or the like. Other programs say nothing: they
    count. Old exports have it in `id` (PathAnnotationObject)."""
    kind = (feature.get("properties") or {}).get("objectType")
    old = str(feature.get("id", ""))
    return kind == "annotation" if kind else not old.startswith("Path") or old == "PathAnnotationObject"


def leaves(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    """The simple geometries within multi-geometries and collections, however deep."""
    if hasattr(geometry, "geoms"):
        return [leaf for part in geometry.geoms for leaf in leaves(part)]
    return [geometry]


def class_of(feature: dict) -> str:
    """QuPath's class of a feature, in lower case, "" for none. Of a derived class (`Tissue: Fat`) the base counts."""
    value = (feature.get("properties") or {}).get("classification") or ""
    if isinstance(value, dict):
        value = value.get("name") or ":".join(value.get("names") or [])
    return value.split(":")[0].strip().lower()


def rasterise(areas: list[shapely.Geometry], size: tuple[int, int], scale: float) -> np.ndarray:
    """Where pixel centres lie within any of the areas, whose coordinates are `scale` times the mask's. bool (h, w)

    Even-odd rule: each border that is crossed on the way along a row of pixel centres turns inside to outside and back.
    """
    height, width = size
    turns = np.zeros((height, width + 1), np.int32)
    for ring in (
        ring for part in leaves(shapely.union_all(areas)) if part.geom_type == "Polygon" for ring in rings_of(part)
    ):
        xy = shapely.get_coordinates(ring) / scale - 0.5
        start, end = xy[:-1], xy[1:]
        low, high = (
            np.clip(np.ceil(f(start[:, 1], end[:, 1])), 0, height).astype(int) for f in (np.minimum, np.maximum)
        )
        count = high - low
        edge = np.repeat(np.arange(len(start)), count)
        row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + low[edge]
        slope = (end[edge, 0] - start[edge, 0]) / (end[edge, 1] - start[edge, 1])
        x = start[edge, 0] + slope * (row - start[edge, 1])
        np.add.at(turns, (row, np.clip(np.ceil(x), 0, width).astype(int)), 1)
    return (np.cumsum(turns, axis=1) % 2).astype(bool)[:, :width]


def rings_of(part: shapely.Polygon) -> list[shapely.LinearRing]:
    """The outline and the holes of a polygon."""
    return [part.exterior, *part.interiors]
