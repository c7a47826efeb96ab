"""The page of a reader study in a real browser: scripted readers go through it, reload, lose the server, go back, save."""

import functools
import json
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from planted_slides import planted

from browsing import complaints, until
from histogenesis.patches.store import Cut, write_store
from histogenesis.recipe.reading import Pairs, Survey, WholeSlides
from histogenesis.study import compose
from histogenesis.study.analyse import analyse_files
from histogenesis.study.folder import write_study
from histogenesis.study.questions import GENERATED, SCALES

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SIZES = {"desktop": (1280, 900), "tablet": (820, 1180), "phone": (390, 844)}
STUDIES = ("pairs", "slides", "survey")


def write_patches(path: Path, labels, seed: int, groups=None) -> None:
    rng, n = np.random.default_rng(seed), len(labels)
    texts = {"label": labels} | ({"group": groups} if groups else {})
    cut = Cut(
        path.stem, 64, 64, 64, 0.5, np.zeros((n, 2), np.int64), np.full(n, 0.5), np.ones(n, np.float32), texts=texts
    )
    write_store(path, cut, (rng.integers(80, 200, (64, 64, 3), np.uint8) for _ in labels))


@pytest.fixture(scope="module")
def studies(tmp_path_factory) -> Path:
    """One study of each kind, of made-up tissue."""
    out = tmp_path_factory.mktemp("reading")
    labels = ["cancer", "normal"] * 20
    write_patches(out / "samples.h5", labels, 1)
    write_patches(out / "patches/main.h5", labels, 2, [f"g{n // 2}" for n in range(40)])
    groups = "".join(f"main\tg{n}\t{'validation' if n > 4 else 'train'}\t0\t1\n" for n in range(20))
    (out / "splits.tsv").write_text("slide\tpatient\tsplit\tx_from\tx_to\n" + groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "sources_of", lambda *_: planted(3))
        sections = {
            "pairs": Pairs(kind="pairs", each=3, size_px=96),
            "slides": WholeSlides(kind="whole-slides", each=3),
            "survey": Survey(kind="survey", samples="some"),
        }
        made = {
            "pairs": compose.pairs(sections["pairs"], out, [], [1.0, 0.5]),
            "slides": compose.whole_slides(sections["slides"], out, []),
            "survey": compose.survey(sections["survey"], out / "patches", out / "splits.tsv", out / "samples.h5"),
        }
    for name, composed in made.items():
        write_study(composed, sections[name], name, "made-up", out / name / "for_readers", out / name / "key.json")
    return out


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no Chromium here (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Reader:
    """A scripted reader in a browser profile of their own. choose(its row of the key, the part's kind) -> the value."""

    def __init__(self, browser, studies: Path, study: str, code: str, size=SIZES["desktop"]):
        self.key = json.loads((studies / study / "key.json").read_text())
        self.truth = {row["id"]: row for row in self.key["questions"]}
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
        self.page, self.code = self.context.new_page(), code
        self.wrong = complaints(self.page)

    def begin(self, address: str) -> None:
        self.page.goto(address)
        self.page.get_by_label("Your reader code").fill(self.code)
        self.page.get_by_label("I have read this").check()
        self.page.get_by_role("button", name="Start").click()

    def now(self) -> list[str | None]:
        """The question that is shown: its id, and its part's kind; None at the end."""
        return self.page.evaluate("[window.shown?.id ?? null, window.shown?.kind ?? null]")

    def answer(self, choose, mouse: bool = False) -> None:
        """Answer what is shown; by keys, or by mouse or finger."""
        question, kind = self.now()
        value = choose(self.truth.get(question), kind)
        if kind == "rate":
            for scale in SCALES:
                self.page.locator(f"[data-scale={scale}] input").nth(value[scale] - 1).check()
            return
        options = self.page.locator("input[name=answer]")
        values = options.evaluate_all("(all) => all.map((one) => one.value)")
        n = values.index(value) if value in values else 0
        if mouse:
            options.nth(n).check()
        else:
            self.page.keyboard.press(str(n + 1))

    def go_through(self, choose, mouse: bool = False, stop_at: int = 10**9) -> None:
        for _ in range(100):
            if self.page.locator("#save").count() or self.answered() >= stop_at:
                return
            self.answer(choose, mouse)
            self.next(mouse)
        raise AssertionError("the study does not end")

    def next(self, mouse: bool) -> None:
        self.page.get_by_role("button", name="Next").click() if mouse else self.page.keyboard.press("Enter")

    def answered(self) -> int:
        text = self.page.locator("#count").inner_text()
        return int(text.split()[0])

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Save my answers").click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        self.context.close()
        return path


def seer(row, kind):
    if row is None:
        return {scale: 3 for scale in SCALES} if kind == "rate" else "right"
    if kind == "certainty":
        return "6" if row["truth"] == GENERATED else "1"
    return {scale: 4 for scale in SCALES} if kind == "rate" else row["truth"]


def guesser(seed: int):
    rng = np.random.default_rng(seed)

    def choose(row, kind):
        if row is None or kind == "rate":
            return seer(row, kind)
        options = {"certainty": [str(n) for n in range(1, 7)], "pick": ["left", "right"], "class": ["cancer", "normal"]}
        return str(rng.choice(options.get(kind, ["real", "generated"])))

    return choose


def address(studies, study) -> str:
    return (studies / study / "for_readers/index.html").as_uri()


def analysed(studies, study, folder):
    return analyse_files(studies / study / "key.json", folder.glob("*.json"), folder / "analysis")


@pytest.mark.parametrize("study", STUDIES)
def test_one_who_sees_everything_is_right_in_all_by_keyboard_from_a_file(browser, studies, study, tmp_path):
    reader = Reader(browser, studies, study, "A1")
    reader.begin(address(studies, study))
    reader.go_through(seer)
    assert "Thank you" in reader.page.locator("main").inner_text()
    file = reader.save(tmp_path)
    assert not reader.wrong
    found = analysed(studies, study, tmp_path)
    assert found["problems"] == [] and found["readers"] == 1 and file.name.startswith("answers-A1-")
    for part in found["parts"]:
        if part["kind"] == "rate":
            assert {row["mean"] for row in part["ratings"]} == {4}
        else:
            assert part["pooled"]["value"] == 1 and part["pooled"]["n"] == part["questions"]
    assert found["times"][0]["minutes"] < 5


def test_guessers_come_out_at_chance(browser, studies, tmp_path):
    for n in range(2):
        reader = Reader(browser, studies, "survey", f"G{n}")
        reader.begin(address(studies, "survey"))
        reader.go_through(guesser(n))
        reader.save(tmp_path)
    parts = analysed(studies, "survey", tmp_path)["parts"]
    judged = [part["pooled"] for part in parts if part["kind"] != "rate"]
    assert sum(one["n"] for one in judged) == 2 * 16
    k = sum(one["k"] for one in judged)
    assert 7 <= k <= 25, "32 guesses: 16 +- 9"


def test_a_reader_goes_back_reloads_loses_the_server_and_saves(browser, studies, tmp_path):
    """On a tablet, by touch, from a static server."""
    folder = studies / "slides/for_readers"
    quiet = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    reader = Reader(browser, studies, "slides", "B 2", SIZES["tablet"])
    reader.begin(f"http://127.0.0.1:{server.server_port}/")
    reader.go_through(lambda row, kind: "3" if row else seer(row, kind), mouse=True, stop_at=3)
    reader.page.get_by_role("button", name="Back").click()
    question, _ = reader.now()
    assert reader.page.locator("input:checked").get_attribute("value") == "3", "what was answered is shown"
    reader.answer(seer, mouse=True)  # changed
    reader.page.reload()
    assert "Welcome back" in reader.page.locator("#said").inner_text()
    assert reader.now()[0] == question and reader.answered() == 3
    assert reader.page.locator("input:checked").get_attribute("value") in ("1", "6")
    server.shutdown()
    server.server_close()
    reader.next(True)
    reader.go_through(seer, mouse=True)
    file = json.loads(reader.save(tmp_path).read_text())
    assert file["reader"] == "B 2" and file["answered"] == file["questions"] == 6
    (part,) = analysed(studies, "slides", tmp_path)["parts"]
    assert part["pooled"]["n"] == 6 and part["pooled"]["k"] >= 4


def test_without_consent_or_code_nobody_starts(browser, studies):
    reader = Reader(browser, studies, "pairs", "")
    reader.page.goto(address(studies, "pairs"))
    assert "voluntary" in reader.page.locator("#consent").inner_text()
    reader.page.get_by_role("button", name="Start").click()
    assert "code" in reader.page.locator("#said").inner_text()
    reader.page.get_by_label("Your reader code").fill("C")
    reader.page.get_by_role("button", name="Start").click()
    assert "tick the box" in reader.page.locator("#said").inner_text()
    reader.page.get_by_label("I have read this").check()
    reader.page.keyboard.press("Enter")
    assert "Practice" in reader.page.locator("main").inner_text()
    reader.page.keyboard.press("1")
    assert "look again" in reader.page.locator("#said").inner_text()
    reader.page.keyboard.press("2")
    assert "how to answer" in reader.page.locator("#said").inner_text() and reader.answered() == 0
    reader.context.close()


def test_two_readers_see_another_order_and_one_the_same(browser, studies):
    orders = []
    for code in ("D", "E", "D"):
        reader = Reader(browser, studies, "pairs", code)
        reader.begin(address(studies, "pairs"))
        order = []
        reader.page.keyboard.press("Enter")
        while not reader.page.locator("#save").count():
            order.append(reader.now()[0])
            reader.page.keyboard.press("Enter")
        assert "6 questions are not answered" in reader.page.locator("main").inner_text()
        orders.append(order)
        reader.context.close()
    assert orders[0] == orders[2] != orders[1] and sorted(orders[0]) == sorted(orders[1])


def test_two_readers_at_one_computer_do_not_mix(browser, studies):
    reader = Reader(browser, studies, "pairs", "F")
    reader.begin(address(studies, "pairs"))
    reader.go_through(seer, stop_at=2)
    reader.page.get_by_role("button", name="Another reader").click()
    reader.page.get_by_label("Your reader code").fill("H")
    reader.page.get_by_label("I have read this").check()
    reader.page.get_by_role("button", name="Start").click()
    assert reader.answered() == 0
    reader.page.get_by_role("button", name="Another reader").click()
    reader.page.get_by_label("Your reader code").fill("F")
    reader.page.get_by_label("I have read this").check()
    reader.page.get_by_role("button", name="Start").click()
    assert reader.answered() == 2
    reader.context.close()


def test_a_browser_that_keeps_nothing_says_so_and_the_answers_can_be_saved(browser, studies, tmp_path):
    reader = Reader(browser, studies, "pairs", "I")
    refuse = (
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    reader.page.add_init_script(refuse)
    reader.page.goto(address(studies, "pairs"))
    assert "keeps nothing" in reader.page.locator("main").inner_text()
    reader.page.get_by_label("Your reader code").fill("I")
    reader.page.get_by_label("I have read this").check()
    reader.page.get_by_role("button", name="Start").click()
    reader.go_through(seer)
    reader.save(tmp_path)
    assert analysed(studies, "pairs", tmp_path)["parts"][0]["pooled"]["n"] == 6


def test_a_slide_is_zoomed_to_its_last_pixel_by_key_with_a_true_scale(browser, studies):
    reader = Reader(browser, studies, "slides", "J")
    reader.begin(address(studies, "slides"))
    reader.page.keyboard.press("Enter")
    page = reader.page
    until(page, "window.slide?.world.getItemAt(0)?.getFullyLoaded()")
    before = page.evaluate("window.slide.viewport.getZoom(true)")
    for _ in range(4):
        page.keyboard.press("+")
    until(page, f"window.slide.viewport.getZoom(true) > 2 * {before}")
    middle = page.evaluate("window.slide.viewport.getCenter(true).x")
    page.keyboard.press("ArrowRight")
    until(page, f"window.slide.viewport.getCenter(true).x > {middle} + 0.02")
    page.evaluate("window.slide.viewport.zoomTo(window.slide.viewport.imageToViewportZoom(1), null, true)")
    until(page, "window.slide.world.getItemAt(0).getFullyLoaded()")
    bar = page.locator("#scale i").bounding_box()["width"]
    assert page.locator("#scale span").inner_text() == "50 µm" and bar == pytest.approx(50 / 0.5, rel=0.03)
    page.keyboard.press("5")
    assert reader.answered() == 1
    assert not reader.wrong
    reader.context.close()


@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(browser, studies, size):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    look = axe.Axe().run if size == "phone" else None  # the same elements at every width
    wide = "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length"
    for study in STUDIES:
        reader = Reader(browser, studies, study, "K", SIZES[size])
        reader.page.goto(address(studies, study))
        kinds = {"welcome"}
        found = look(reader.page).response["violations"] if look else []
        reader.begin(address(studies, study))
        for _ in range(40):
            kind = reader.now()[1] or "end"
            if kind not in kinds:
                kinds.add(kind)
                found += look(reader.page).response["violations"] if look else []
                assert reader.page.evaluate(wide) == 0, kind
            if kind == "end":
                break
            reader.page.keyboard.press("Enter")
        assert "end" in kinds and len(kinds) >= 3
        assert not [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found]
        reader.context.close()


def test_nothing_leaves_the_page(browser, studies):
    """Its own policy forbids it to send anything anywhere."""
    reader = Reader(browser, studies, "pairs", "L")
    asked = []
    reader.page.on("request", lambda request: asked.append(request.url))
    reader.begin(address(studies, "pairs"))
    tried = reader.page.evaluate("fetch('https://example.org/').then(() => 'sent', (error) => String(error))")
    assert "Failed" in tried or "refused" in tried.lower()
    assert all(url.startswith(("file:", "data:", "blob:")) for url in asked if "example.org" not in url)
    reader.context.close()
