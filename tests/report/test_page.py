"""The page in a real browser: it asks for nothing, sorts, enlarges, fits a phone and paper, and axe finds nothing."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browsing import complaints, until
from histogenesis.report.build import build_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (apt-get install chromium)")
SIZES = {"desktop": (1280, 900), "tablet": (820, 1180), "phone": (390, 844)}
ENCODERS = ("imagenet", "stain")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(original_run, tmp_path_factory) -> Path:
    """A report with every kind of block: metrics at three resolutions, patches behind them, a contact sheet."""
    run = Path(shutil.copytree(original_run, tmp_path_factory.mktemp("page") / "made-up"))
    rng, rows, pictures = np.random.default_rng(1), [], {}
    for encoder in ENCODERS:
        for mpp in (16.0, 8.0, 4.0):
            path = run / f"evaluation/evidence/{encoder}/{mpp:g}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (90, 200, 3), np.uint8)).save(path)
            found = {"picture": f"evidence/{encoder}/{mpp:g}.png", "furthest": []}
            pictures.setdefault(encoder, {})[f"{mpp:g}"] = found
            for name, value in (("fid", 3000 / mpp), ("kid", 0.5), ("precision", 0.2), ("recall", None)):
                floor = {
                    "floor": 10.0,
                    "floor_low": 8.0,
                    "floor_high": 12.0,
                    "ceilings": {"phase": 900.0, "bicubic": 300.0},
                }
                ends = {"low": 0.9 * value, "high": 1.1 * value} if value else {}
                better = "higher" if name in ("precision", "recall") else "lower"
                about = {
                    "name": name,
                    "encoder": encoder,
                    "mpp": mpp,
                    "better": better,
                    "note": "so it is",
                    "n_generated": 99,
                }
                rows.append(about | floor | ends | {"value": value})
    (run / "evaluation/metrics.json").write_text(json.dumps(rows))
    (run / "evaluation/evidence.json").write_text(json.dumps({"encoders": pictures}))
    Image.new("RGB", (3000, 600), "pink").save(run / "evaluation/synthetic_001/contact.png")
    build_report(run, run / "report.html")
    return run / "report.html"


def opened(browser, report, size):
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height})
    asked, wrong = [], complaints(page)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.asked, page.wrong = asked, wrong
    return page


@pytest.mark.parametrize("size", SIZES)
def test_it_opens_alone_and_fits(browser, report, size):
    page = opened(browser, report, size)
    assert [url for url in page.asked if not url.startswith("data:")] == [report.as_uri()]
    assert not page.wrong
    broken = "[...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
    assert page.evaluate(broken) == 0
    assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
    boxes = "[...document.querySelectorAll('li, p, th, td, figcaption, h1, h2, summary')].filter((e) => e.checkVisibility())"
    assert page.evaluate(f"{boxes}.every((e) => e.getBoundingClientRect().width > 20)")
    # words that stand side by side do not touch: the status and its sentence are apart, at every width
    gaps = """[...document.querySelectorAll('ul.verdict li')].map((li) => {
        const [a, b] = [...li.children].map((e) => e.getBoundingClientRect());
        return a.right + 4 <= b.left || a.bottom <= b.top + 1; })"""
    assert all(page.evaluate(gaps))
    page.close()


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing(browser, report, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(browser, report, size)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    found = axe.Axe().run(page).response["violations"]
    assert not [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found]
    page.get_by_role("button", name=re.compile("^Show large")).first.click()
    found = axe.Axe().run(page).response["violations"]
    assert not [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found]
    page.close()


def column(page, table, k):
    cells = f"[...document.querySelectorAll('.sortable')][{table}].tBodies[0].rows"
    return page.evaluate(f"[...{cells}].map((row) => row.cells[{k}].textContent.trim())")


def test_tables_sort_by_number_by_click_and_by_key(browser, report):
    page = opened(browser, report, "desktop")
    titles = page.evaluate("[...document.querySelectorAll('.sortable')].map((t) => t.tHead.textContent)")
    table = next(i for i, title in enumerate(titles) if "against real" in title and "notes" in title)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.evaluate("() => { window.sorts = 0; addEventListener('sort-end', () => window.sorts++); }")
    head = page.locator(".sortable").nth(table).locator("thead th", has_text=re.compile("^value"))
    head.click()
    until(page, "window.sorts === 1")  # it sorts a moment after the click
    falling = column(page, table, 4)
    head.focus()
    page.keyboard.press("Enter")
    until(page, "window.sorts === 2")
    rising = column(page, table, 4)
    known = [float(text.replace(",", "")) for text in rising if text != "–"]
    assert known == sorted(known) and len(set(known)) > 3  # 750 after 188 and not before, as text would be
    assert rising[-6:] == falling[-6:] == ["–"] * 6  # what is missing comes last either way
    assert next(t for t in falling if t != "–") == [t for t in rising if t != "–"][-1]
    page.close()


def test_a_picture_and_the_patches_behind_a_number_are_shown_large(browser, report):
    page = opened(browser, report, "desktop")
    picture = page.locator("figure", has_text="the whole slide").locator("img")
    small = picture.bounding_box()["width"]
    picture.click()
    shown = page.locator("dialog img")
    assert shown.bounding_box()["width"] > 1.1 * small
    assert shown.get_attribute("src") == picture.get_attribute("src")
    assert "the whole slide" in page.locator("dialog p").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("dialog img").get_attribute("src") != picture.get_attribute("src")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()

    number = page.locator("a.patches", has_text="188").first  # FID at 16 mpp, encoder imagenet
    number.click()
    assert "imagenet sees it, 16 µm/px" in page.locator("dialog p").inner_text()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("dialog").is_visible()
    page.close()


def test_without_scripts_all_is_there(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".bottom-line").is_visible()
    page.locator("a.patches").first.click()  # a link to the picture, which unfolds it
    assert page.locator("figure[id^=patches-]").first.is_visible()
    context.close()


def test_paper_holds_what_the_screen_holds(browser, report, tmp_path):
    pdf = shutil.which("pdftotext")
    page = opened(browser, report, "desktop")
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 within its margins
    all_of = "[...document.querySelectorAll('table, img, pre, p')]"
    wide = f"{all_of}.filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
    assert page.evaluate(f"{wide}.map((e) => e.outerHTML.slice(0, 80))") == []
    page.close()
    if not pdf:
        pytest.skip("no pdftotext here (apt-get install poppler-utils)")
    text = subprocess.run(
        [pdf, "-layout", tmp_path / "report.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    for words in ("Every number", "structureless", "pen mark near the border", "null-space", "scikit-image", "seed: 7"):
        assert words in text
    assert text.count("imagenet") >= 12  # a row of the folded table for each of its numbers
