"""The viewer: its tiles are the pixels of the files, on a server and in a folder alike; and what a browser shows of them."""

import io
import json
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from browsing import complaints, until
from histogenesis.core.errors import BadInput
from histogenesis.recipe import SlideFile
from histogenesis.slides.table import SlideRow, register
from histogenesis.slides.write import write_slide
from histogenesis.study.viewer.images import TILE_PX, CanvasImage, SlideImage
from histogenesis.study.viewer.run import RunImages
from histogenesis.study.viewer.serve import answer, make_server, write_folder

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SIZE = (300, 420)  # px of level 0: height, width; level 1 is four times as large


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """One synthetic slide of two levels, smooth, so that JPEG changes little; a plan; evidence with a place."""
    folder = tmp_path_factory.mktemp("viewer") / "shown"
    levels = folder / "synthetic/s1"
    levels.mkdir(parents=True)
    y, x = np.indices((SIZE[0] * 4, SIZE[1] * 4)) / 4
    fine = (
        np.stack([128 + 90 * np.sin(x / 60), 128 + 90 * np.cos(y / 45), 60 + (x + y) / 6], axis=-1)
        .round()
        .astype(np.uint8)
    )
    coarse = fine.reshape(SIZE[0], 4, SIZE[1], 4, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    for k, (image, mpp) in enumerate(((coarse, 8.0), (fine, 2.0))):
        with h5py.File(levels / f"level{k}.h5", "w") as file:
            file["image"] = image
            file.attrs.update(mpp=mpp, level=k, slide="s1", synthetic=True, seed=1)
    plan = np.zeros(SIZE, np.uint8)
    plan[60:240, 100:300] = 255
    Image.fromarray(plan).save(levels / "plan.png")
    write_slide(levels / "level1.h5", folder / "synthetic/s1.tif", SlideFile(), {"run": "shown"})
    about = {"joining": {"kind": "independent"}, "constraint": {"kind": "none"}, "tile_px": 210, "cross_scale": None}
    seams = {"by_line": [{"axis": "column", "at_px": 840, "score": 1.5, "p_two_sided": 0.001, "pixels": 9}]}
    found = [
        about | {"level": k, "mpp": mpp, "height_px": SIZE[0] * n, "width_px": SIZE[1] * n, "seams": seams if k else {}}
        for k, (mpp, n) in enumerate(((8.0, 1), (2.0, 4)))
    ]
    found[1]["cross_scale_map"] = "cross_scale_level1.png"
    (folder / "evaluation/s1").mkdir(parents=True)
    Image.new("RGBA", (42, 30), (214, 40, 40, 90)).save(folder / "evaluation/s1/cross_scale_level1.png")
    (folder / "evaluation/s1/coherence.json").write_text(json.dumps({"slide": "s1", "levels": found}))
    pair = {"slide": "s1", "generated": 0, "held_out": 0, "x_um": 800.0, "y_um": 480.0, "distance": 1.0}
    evidence = {"size_px": 64, "encoders": {"e": {"2": {"picture": "none.png", "furthest": [pair]}}}}
    (folder / "evaluation/evidence.json").write_text(json.dumps(evidence))
    return folder


def picture(image, level) -> np.ndarray:
    """A whole level of a pyramid, from its tiles."""
    columns, rows = image.grid(level)
    tiles = [[np.asarray(Image.open(io.BytesIO(image.tile(level, x, y)))) for x in range(columns)] for y in range(rows)]
    return np.concatenate([np.concatenate(row, axis=1) for row in tiles]).astype(float)


def truth(run) -> np.ndarray:
    with h5py.File(run / "synthetic/s1/level1.h5") as file:
        return file["image"][:].astype(float)


@pytest.mark.parametrize("kind", ["slide", "canvas"])
def test_tiles_are_the_pixels_at_every_zoom(run, kind):
    image = SlideImage(run / "synthetic/s1.tif") if kind == "slide" else CanvasImage(run / "synthetic/s1", 1)
    full = truth(run)
    assert (image.height_px, image.width_px) == full.shape[:2]
    assert image.mpp == pytest.approx(2)
    assert image.last == 11  # 2^11 is the first power of two that 1680 px fit in
    assert np.abs(picture(image, image.last) - full).mean() < 2
    for down in (1, 2, 3):
        small, block = picture(image, image.last - down), 2**down
        means = full[: full.shape[0] // block * block, : full.shape[1] // block * block]
        means = means.reshape(full.shape[0] // block, block, full.shape[1] // block, block, 3).mean(axis=(1, 3))
        height, width = means.shape[:2]
        assert np.abs(small[:height, :width] - means).mean() < 3
        assert small.shape[:2] == (-(-full.shape[0] // block), -(-full.shape[1] // block))
    assert picture(image, 0).shape == (1, 1, 3)


@pytest.mark.parametrize("at", [(12, 0, 0), (-1, 0, 0), (11, 7, 0), (11, 0, 5), (11, -1, 0)])
def test_there_is_no_tile_outside(run, at):
    with pytest.raises(KeyError):
        CanvasImage(run / "synthetic/s1", 1).tile(*at)


def test_the_page_is_told_what_there_is_and_where(run):
    facts = RunImages(run).facts
    slide, level0, level1 = facts["pictures"]
    assert [one["key"] for one in facts["pictures"]] == ["s1", "s1-level0", "s1-level1"]
    assert (slide["mpp"], level0["mpp"], level1["mpp"]) == pytest.approx((2, 8, 2))
    assert {one["frame"] for one in facts["pictures"]} == {"s1"}
    titles = [shape["title"] for shape in level1["overlays"]]
    assert titles == [
        "tissue",
        "furthest from real (e)",
        "tiles",
        "steeper tile borders",
        "departs from the level above",
    ]
    shapes = {shape["title"]: shape.get("path", "") for shape in level1["overlays"]}
    corners = np.array([[float(v) for v in pair.split()] for pair in re.findall(r"[ML]([\d. ]+)", shapes["tissue"])])
    assert corners.min(axis=0) * SIZE[1] == pytest.approx([100, 60], abs=1)
    assert corners.max(axis=0) * SIZE[1] == pytest.approx([300, 240], abs=1)
    width_um = SIZE[1] * 8
    side = 64 * 2 / width_um
    assert shapes["furthest from real (e)"].startswith(f"M{800 / width_um:.6f} {480 / width_um:.6f}h{side:.6f}")
    assert shapes["steeper tile borders"].startswith("M0.500000 0V")
    assert shapes["tiles"].count("V") == 7 and shapes["tiles"].count("H") == 5


def test_a_real_slide_has_the_classes_that_a_person_drew(run, tmp_path):
    folder = Path(shutil.copytree(run, tmp_path / "shown"))
    box = [[420, 300], [840, 300], [840, 900], [420, 900], [420, 300]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [box]}}
    named = [feature | {"properties": {"classification": {"name": name}}} for name in ("Tumour", "Stroma", "Tumour")]
    (tmp_path / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": named}))
    row = SlideRow(slide="r1", path=str(run / "synthetic/s1.tif"), regions=str(tmp_path / "regions.geojson"))
    for name, content in (
        ("slides/r1.json", register(row, folder)),
        ("state/slides.json", {"r1": row.model_dump(mode="json")}),
    ):
        (folder / name).parent.mkdir()
        (folder / name).write_text(json.dumps(content))
    real = next(one for one in RunImages(folder, real=True).facts["pictures"] if one["key"] == "real-r1")
    shapes = {shape["title"]: shape for shape in real["overlays"]}
    assert list(shapes) == ["stroma", "tumour"] and len({shape["colour"] for shape in shapes.values()}) == 2
    assert shapes["tumour"]["path"].count("Z") == 2
    corners = [[float(v) for v in pair.split()] for pair in re.findall(r"[ML]([\d. ]+)", shapes["stroma"]["path"])]
    assert np.max(corners, axis=0) * real["width_px"] == pytest.approx([840, 900], abs=1)
    (tmp_path / "regions.geojson").write_text("{")
    assert RunImages(folder, real=True).facts["pictures"][-1]["overlays"] == []


def test_the_server_answers_on_loopback_for_what_it_has_and_nothing_else(run):
    images = RunImages(run)
    with make_server(images) as server:
        assert server.server_address[0] == "127.0.0.1"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        assert b"viewer.js" in urllib.request.urlopen(address).read()
        tile = urllib.request.urlopen(address + "tiles/s1/11/3_2.jpg").read()
        assert Image.open(io.BytesIO(tile)).size == (TILE_PX, TILE_PX)
        for wrong in (
            "tiles/s1/11/99_0.jpg",
            "tiles/none/0/0_0.jpg",
            "../recipe.yaml",
            "synthetic/s1.tif",
            "overlays/x",
        ):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(address + wrong)
        connection = HTTPConnection("127.0.0.1", server.server_port)
        connection.request("GET", "/facts.js", headers={"Host": "elsewhere.example"})
        assert connection.getresponse().status == 403
        server.shutdown()


def test_a_run_without_slides_says_so(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadInput, match=r"no slide to show|no such run"):
            RunImages(folder)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("static") / "viewer"
    write_folder(RunImages(run), out)
    return out


def test_the_folder_holds_what_the_server_answers(run, folder):
    images = RunImages(run)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert all(answer(images, name)[0] == (folder / name).read_bytes() for name in files)


@pytest.fixture(scope="module")
def page(folder):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium here (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.wrong = complaints(page)
        page.on("requestfailed", lambda request: page.wrong.append(request.url))
        yield page
        browser.close()


def open_at(page, folder, place=""):
    page.goto("about:blank")
    page.goto((folder / "index.html").as_uri() + place)
    until(page, "window.panes?.left.view.world.getItemAt(0)?.getFullyLoaded()")


def test_a_browser_opens_the_folder_without_a_server_and_sees_the_pixels(run, folder, page):
    open_at(page, folder, "#left=s1&x=1680&y=1200&width=1200")  # 600 px of the slide's own, on a pane of 1200
    shot = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(float)
    box = page.locator(".pane[data-side=left]").bounding_box()
    middle = shot[int(box["y"] + box["height"] / 2), int(box["x"] + box["width"] / 2)]
    assert np.abs(middle - truth(run)[600, 840]).max() < 12  # the place that was asked for
    left = shot[int(box["y"] + box["height"] / 2), 300]
    assert np.abs(left - truth(run)[600, 840 - 150]).max() < 12  # and its scale
    assert not page.wrong


def test_the_scale_bar_is_true(folder, page):
    open_at(page, folder, "#left=s1&x=1680&y=1200&width=1200")
    um_per_px = 1200 / page.locator(".pane[data-side=left]").bounding_box()["width"]
    bar = page.locator(".pane[data-side=left] .scale")
    assert bar.inner_text().strip() == "100 µm"  # the roundest below 160 px
    assert bar.locator("i").bounding_box()["width"] == pytest.approx(100 / um_per_px, rel=0.02)


def test_two_panes_move_together_in_um_and_a_level_keeps_the_place(folder, page):
    open_at(page, folder, "#left=s1&right=s1-level0&x=1680&y=1200&width=1200")
    until(page, "window.panes.right.view.world.getItemAt(0)?.getFullyLoaded()")
    page.evaluate("window.panes.left.go({x: 1000, y: 700, width: 900}, true)")
    until(page, "Math.abs(window.panes.right.place().x - 1000) < 20")
    right = page.evaluate("window.panes.right.place()")
    assert (right["x"], right["y"], right["width"]) == pytest.approx((1000, 700, 900), rel=0.02)
    page.locator("#left").select_option("s1-level1")
    until(page, "window.panes.left.view.world.getItemAt(0)?.getFullyLoaded()")
    until(page, "Math.abs(window.panes.left.place().x - 1000) < 20")
    left = page.evaluate("window.panes.left.place()")
    assert (left["x"], left["y"], left["width"]) == pytest.approx((1000, 700, 900), rel=0.02)
    until(page, "location.hash.includes('left=s1-level1')")
    assert "x=1000" in page.url and "right=s1-level0" in page.url
    page.locator("#together").uncheck()
    page.evaluate("window.panes.left.go({x: 2000, y: 700, width: 900}, true)")
    assert page.evaluate("window.panes.right.place()")["x"] == pytest.approx(1000, rel=0.02)
    assert not page.wrong


def test_overlays_are_drawn_where_they_belong(folder, page):
    open_at(page, folder, "#left=s1-level1&x=1680&y=1200&width=3600")
    pane = page.locator(".pane[data-side=left]")
    for title in ("tissue", "tiles", "steeper tile borders", "furthest from real (e)", "departs from the level above"):
        pane.get_by_label(title).check()
    outline = pane.locator("svg.shapes path").first.bounding_box()
    per_um = pane.bounding_box()["width"] / 3600
    assert outline["width"] == pytest.approx(200 * 8 * per_um, rel=0.03)  # the plan's tissue is 200 px of 8 um wide
    assert pane.locator("img.map").bounding_box()["width"] == pytest.approx(420 * 8 * per_um, rel=0.03)
    pane.get_by_label("tissue").uncheck()
    assert pane.locator("svg.shapes").count() == 3


def test_axe_finds_nothing_in_the_viewer(folder, page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    open_at(page, folder)
    found = axe.Axe().run(page).response["violations"]
    assert not [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found]
