"""What a run has to show: its pictures by name, and the facts that the page is told of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from skimage.measure import approximate_polygon, find_contours

from histogenesis.core.errors import BadInput
from histogenesis.metrics.coherence.strips import open_levels, read_plan
from histogenesis.slides.table import open_record, slide_path
from histogenesis.study.viewer.images import TILE_PX, CanvasImage, DeepImage, SlideImage
from histogenesis.tissue.geojson import leaves, read_features, rings_of

LINES = 200  # tile lines along a side, at most
TISSUE_COLOUR = "#0b7a4b"
CLASS_COLOURS = ("#b5179e", "#e85d04", "#3a0ca3", "#6a994e", "#9d0208", "#0077b6")


class RunImages:
    """The pictures of results/{run}: `images` by key, `facts` for the page. Raises BadInput when there is nothing to show."""

    def __init__(self, run_dir: Path, real: bool = False):
        if not run_dir.is_dir():
            raise BadInput(f"{run_dir}: no such run; results of a run lie in results/{{run}}/")
        self.images: dict[str, DeepImage] = {}
        self.overlays: dict[str, Path] = {}
        pictures = [*self._synthetic(run_dir), *(self._real(run_dir) if real else [])]
        if not pictures:
            raise BadInput(f"{run_dir}: there is no slide to show: neither synthetic/*.tif nor synthetic/*/level0.h5")
        self.facts = {"run": run_dir.resolve().name, "tile_px": TILE_PX, "pictures": pictures}

    def _synthetic(self, run_dir: Path) -> Iterator[dict]:
        names = {path.stem for path in run_dir.glob("synthetic/*.tif")}
        names |= {path.parent.name for path in run_dir.glob("synthetic/*/level0.h5")}
        for name in sorted(names):
            folder, slide = run_dir / "synthetic" / name, run_dir / "synthetic" / f"{name}.tif"
            coherence = _json(run_dir / "evaluation" / name / "coherence.json")
            shapes = [*_outline(folder / "plan.png"), *_furthest(run_dir, name)]
            if slide.is_file():
                yield self._add(f"{name}", SlideImage(slide), name, f"{name}: the slide", shapes)
            if not (folder / "level0.h5").is_file():
                continue
            for k, file in enumerate(open_levels(folder)):
                file.close()
                level: dict = next((one for one in coherence.get("levels", []) if one["level"] == k), {})
                image = CanvasImage(folder, k)
                more = [*shapes, *_grid(level, image), *_seams(level, image), *self._map(run_dir, name, level)]
                yield self._add(f"{name}-level{k}", image, name, f"{name}: level {k}, {image.mpp:g} µm/px", more)

    def _real(self, run_dir: Path) -> Iterator[dict]:
        for record in sorted(run_dir.glob("slides/*.json")):
            try:
                with open_record(record, run_dir) as slide:
                    image = SlideImage(slide.path, slide.mpp)
            except BadInput:  # set aside: the report says why
                continue
            shapes = [
                *_drawn(run_dir / "tissue" / record.stem / "tissue.geojson", image),
                *_classes(run_dir, record.stem, image),
            ]
            yield self._add(f"real-{record.stem}", image, f"real-{record.stem}", f"real: {record.stem}", shapes)

    def _add(self, key: str, image: DeepImage, frame: str, title: str, shapes: list[dict]) -> dict:
        self.images[key] = image
        about = {"key": key, "title": title, "frame": frame, "mpp": image.mpp, "last": image.last}
        return about | {"width_px": image.width_px, "height_px": image.height_px, "overlays": shapes}

    def _map(self, run_dir: Path, name: str, level: dict) -> Iterator[dict]:
        path = run_dir / "evaluation" / name / str(level.get("cross_scale_map"))
        if level.get("cross_scale_map") and path.is_file():
            key = f"{name}-{path.name}"
            self.overlays[key] = path
            yield {"title": "departs from the level above", "picture": f"overlays/{key}"}


# Shapes are in shares of the picture's width, y too, as OpenSeadragon counts: a title, a colour, an SVG path.


def _outline(plan_png: Path) -> Iterator[dict]:
    if not plan_png.is_file():
        return
    plan = np.pad(read_plan(plan_png), 1)
    width = plan.shape[1] - 2
    rings = [approximate_polygon(ring, 0.7) - 0.5 for ring in find_contours(plan.astype(float), 0.5)]
    path = "".join(_ring([(x / width, y / width) for y, x in ring]) for ring in rings if len(ring) > 3)
    if path:
        yield {"title": "tissue", "colour": TISSUE_COLOUR, "path": path}


def _classes(run_dir: Path, slide: str, image: DeepImage) -> Iterator[dict]:
    """Regions that a person drew and classified, where the slide table names their file and it can be read."""
    regions = _json(run_dir / "state/slides.json").get(slide, {}).get("regions")
    try:
        yield from _drawn(slide_path(regions, run_dir), image) if regions else ()
    except BadInput:  # the steps that need it say why
        return


def _drawn(geojson: Path, image: DeepImage) -> Iterator[dict]:
    """Every class of a GeoJSON that a person or the workflow drew, as a shape; nothing where there is no such file."""
    classes: dict[str, str] = {}
    for name, area in read_features(geojson) if geojson.is_file() else []:
        for part in leaves(area):
            if part.geom_type == "Polygon":
                rings = [
                    _ring([(x / image.width_px, y / image.width_px) for x, y, *_ in r.coords]) for r in rings_of(part)
                ]
                classes[name] = classes.get(name, "") + "".join(rings)
    for k, (name, path) in enumerate(sorted(classes.items())):
        colour = TISSUE_COLOUR if name == "tissue" else CLASS_COLOURS[k % len(CLASS_COLOURS)]
        yield {"title": name or "without a class", "colour": colour, "path": path}


def _ring(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.6f} {y:.6f}" for x, y in points) + "Z"


def _grid(level: dict, image: DeepImage) -> Iterator[dict]:
    tile_px = level.get("tile_px")
    if not tile_px or max(image.width_px, image.height_px) > LINES * tile_px:
        return
    width, height = 1.0, image.height_px / image.width_px
    path = "".join(f"M{x / image.width_px:.6f} 0V{height:.6f}" for x in range(tile_px, image.width_px, tile_px))
    path += "".join(f"M0 {y / image.width_px:.6f}H{width:.6f}" for y in range(tile_px, image.height_px, tile_px))
    if path:
        yield {"title": "tiles", "colour": "#2459a8", "path": path}


def _seams(level: dict, image: DeepImage) -> Iterator[dict]:
    """Tile lines that are steeper or flatter than others (p < 0.05 of each line by itself)."""
    height = image.height_px / image.width_px
    for steeper, title, colour in (
        (True, "steeper tile borders", "#d62828"),
        (False, "flatter tile borders", "#1d4ed8"),
    ):
        path = ""
        for line in (level.get("seams") or {}).get("by_line") or []:
            score, p = line.get("score"), line.get("p_two_sided")
            if score is None or p is None or p >= 0.05 or (score > 1) != steeper:
                continue
            at = line["at_px"] / image.width_px
            path += f"M0 {at:.6f}H1" if line["axis"] == "row" else f"M{at:.6f} 0V{height:.6f}"
        if path:
            yield {"title": title, "colour": colour, "path": path}


def _furthest(run_dir: Path, name: str) -> Iterator[dict]:
    """The patches that are furthest from any real one, to each encoder; only where it is known where they lie."""
    found = _json(run_dir / "evaluation/evidence.json")
    levels = _json(run_dir / "evaluation" / name / "coherence.json").get("levels", [])
    if not levels:
        return
    width_um = levels[-1]["width_px"] * levels[-1]["mpp"]
    for encoder, mpps in (found.get("encoders") or {}).items():
        path = ""
        for mpp, one in mpps.items():
            side = found["size_px"] * float(mpp) / width_um
            for pair in one["furthest"]:
                if pair["slide"] == name and "x_um" in pair:
                    x, y = pair["x_um"] / width_um, pair["y_um"] / width_um
                    path += f"M{x:.6f} {y:.6f}h{side:.6f}v{side:.6f}h{-side:.6f}Z"
        if path:
            yield {"title": f"furthest from real ({encoder})", "colour": "#b45309", "path": path}


def _json(path: Path) -> dict:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
