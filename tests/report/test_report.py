"""The report says what was measured, says what was not, holds together when parts are missing, and needs no network."""

import base64
import hashlib
import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import h5py
import jinja2
import made_up
import numpy as np
import pytest
from docutils.core import publish_doctree
from PIL import Image

from histogenesis.core.errors import BadInput
from histogenesis.report.build import build_report
from histogenesis.report.gather import gather
from histogenesis.report.page.render import HERE, SCRIPTS
from histogenesis.report.verdict import statements


class Page(html.parser.HTMLParser):
    """Addresses, tags and visible text of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.hrefs, self.sources, self.tags, self.scripts, self.text = [], [], [], [], ""
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "href":
                self.hrefs.append(value)
            elif name == "src":
                self.sources.append(value)

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts += [data] if data.strip() else []
        else:
            self.text += data


def report(run: Path) -> Page:
    build_report(run, run / "report.html")
    return Page(run / "report.html")


def own_scripts() -> list[str]:
    return [(HERE / name).read_text().strip() for name in SCRIPTS]


def verdict(run: Path) -> dict[str, str]:
    """Status of each sentence of the verdict, by the sentence."""
    return {one.text: one.status for one in statements(gather(run))}


def said(run: Path, words: str) -> tuple[str, str]:
    """(status, sentence) of the one that holds these words."""
    (found,) = [(status, text) for text, status in verdict(run).items() if words in text]
    return found


# ----------------------------------------------------------------------------------------------------- the page


def test_page_is_whole_self_contained_and_its_links_lead_to_files(made_up_run, root):
    sheet = Image.new("RGB", (3000, 600), "pink")
    sheet.save(made_up_run / "evaluation/synthetic_001/contact.png")
    command = [sys.executable, root / "workflow/scripts/write_report.py", "--run-dir", made_up_run]
    subprocess.run([*command, "--out", made_up_run / "report.html"], check=True)
    page = Page(made_up_run / "report.html")
    assert page.sources
    assert all(source.startswith("data:image/") for source in page.sources)
    assert not {"link", "iframe"} & set(page.tags)
    assert page.scripts == own_scripts()
    assert "http" not in page.source.replace("http-equiv", "")
    assert str(made_up_run.parent) not in page.source
    files = [href for href in page.hrefs if not href.startswith("#")]
    assert all((made_up_run / unquote(href)).exists() for href in files)
    linked = " ".join(files)
    for name in ("coherence.json", "contact.png", "model.json", "splits.tsv", "colon_2/qc.json", "synthetic_001.tif"):
        assert name in linked
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in page.scripts]
    assert all(f"&#39;sha256-{digest}&#39;" in page.source for digest in digests)  # or no browser would run them
    titles = re.findall(r"<h2>(.*?)</h2>", page.source)
    assert titles[:4] == [
        "Verdict",
        "Synthetic slides",
        "Real and synthetic, side by side",
        "Do tiles and scales agree?",
    ]
    assert all(f"#{name}" in page.hrefs for name in re.findall(r'<section id="(.*?)"', page.source))
    # what a reader looks for
    for words in ("pen mark near the border", "cut off in the middle", "1,104,387", "train_model", "seed: 7", "torch"):
        assert words in page.text
    assert "level 2 (4 µm/px): red where it departs from the level above" in page.text
    coherence = json.loads((made_up_run / "evaluation/synthetic_001/coherence.json").read_text())
    assert f"{coherence['levels'][2]['seams']['score']:.2f}" in page.text


def test_the_same_run_gives_the_same_bytes(made_up_run):
    build_report(made_up_run, made_up_run / "one.html")
    build_report(made_up_run, made_up_run / "two.html")
    assert (made_up_run / "one.html").read_bytes() == (made_up_run / "two.html").read_bytes()


def test_everything_is_escaped(made_up_run):
    evil = '<script>alert("x")</script>'
    record = made_up_run / "slides/broken.json"
    record.write_text(json.dumps({"slide": "broken", "error": evil}))
    (made_up_run / "recipe.yaml").write_text(f"run: '{evil}'\nseed: 1\n")
    rows = [{"name": evil, "value": evil, "file": "javascript:alert(1)", "note": evil, "low": None, "floor": "<b>"}]
    (made_up_run / "evaluation/metrics.json").write_text(json.dumps(rows))
    (made_up_run / 'slides/"onerror=x.json').write_text(json.dumps({"error": "bad name"}))
    page = report(made_up_run)
    assert page.scripts == own_scripts()
    assert "b" not in page.tags
    assert "&lt;script&gt;" in page.source
    assert not any(href.startswith("javascript") for href in page.hrefs)
    assert page.text.count(evil) >= 3


@pytest.mark.parametrize(
    "gone",
    [
        *(
            "recipe.yaml",
            "slides",
            "splits.tsv",
            "tissue",
            "patches",
            "models",
            "synthetic",
            "evaluation",
            "benchmarks",
        ),
        *("models/unet/train.jsonl", "synthetic/synthetic_001/plan.png", "synthetic/synthetic_001/level1.h5"),
    ],
)
def test_any_part_may_be_missing(made_up_run, gone):
    path = made_up_run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = report(made_up_run)
    assert "Verdict" in page.text
    assert all((made_up_run / unquote(href)).exists() for href in page.hrefs if not href.startswith("#"))


def test_an_empty_run_folder_says_that_nothing_is_there(tmp_path):
    page = report(tmp_path)
    assert "No synthetic slide was drawn" in page.text
    with pytest.raises(BadInput, match="no such run"):
        build_report(tmp_path / "nothing", tmp_path / "report.html")


def test_broken_files_are_named_and_the_rest_is_shown(made_up_run):
    (made_up_run / "evaluation/synthetic_001/coherence.json").write_text("{")
    (made_up_run / "models/unet/loss.png").write_bytes(b"no picture")
    (made_up_run / "tissue/colon_1/qc.json").write_text("[1]")
    (made_up_run / "patches/main/colon_2.h5").write_bytes(b"no HDF5")
    (made_up_run / "recipe.yaml").write_text("run: [")
    page = report(made_up_run)
    for name in ("coherence.json", "loss.png", "colon_1/qc.json", "colon_2.h5", "recipe.yaml"):
        assert re.search(rf"{name} could not be (read|shown)", page.text)
    assert "colon_3" in page.text


def test_300_slides_make_a_table_and_twelve_overlays(made_up_run):
    rng = np.random.default_rng(1)
    for i in range(300):
        warnings = ["tissue touches the border"] if i == 250 else []
        made_up.write_slide(made_up_run, f"many_{i:03d}", rng, warnings=warnings)
    page = report(made_up_run)
    captions = re.findall(r"<figcaption>(\w+?)(?::[^<]*)? <a[^>]*>overlay.png", page.source)
    assert len(captions) == 12
    assert captions[:2] == ["colon_2", "many_250"]
    assert "many_299" in page.text
    assert (made_up_run / "report.html").stat().st_size < 3e6


def test_metrics_get_a_table_with_intervals_and_floor(made_up_run):
    rows = [
        {"name": "FID", "encoder": "inception", "value": 41.23, "low": 38.0, "high": 45.5, "n": 2000, "floor": 11.9}
        | {"file": "evaluation/fid.json", "note": "few"},
        {
            "name": "memorised fraction",
            "encoder": "own",
            "value": 0.004,
            "low": 0,
            "high": 0.01,
            "n": 500,
            "floor": 0.003,
        }
        | {"file": "../../../etc/passwd", "note": ""},
    ]
    (made_up_run / "evaluation/metrics.json").write_text(json.dumps(rows))
    (made_up_run / "evaluation/fid.json").write_text("{}")
    page = report(made_up_run)
    assert "evaluation/fid.json" in page.hrefs
    assert not any("passwd" in href for href in page.hrefs)
    assert "38 to 45.5" in page.text
    assert "41.2" in page.text
    _, missing = said(made_up_run, "Not measured in this run")
    assert "memorisation" in missing
    assert "reader study" in missing


def test_the_report_leads_with_the_memorisation_audit(made_up_run):
    audit = {"verdict": "copies", "sentence": "9 % of the generated patches are copies.", "note": "", "encoders": {}}
    (made_up_run / "evaluation/memorisation.json").write_text(json.dumps(audit))
    first = statements(gather(made_up_run))[0]
    assert first.text == "Memorisation: 9 % of the generated patches are copies."
    assert first.file.name == "memorisation.json"
    _, missing = said(made_up_run, "Not measured in this run")
    assert "memorisation" not in missing


# ----------------------------------------------------------------------------------------------------- the verdict


def test_what_is_held_out(made_up_run):
    status, text = said(made_up_run, "held out")
    assert status == "good"
    assert "1 patient, 1 slide" in text
    _, learnt = said(made_up_run, "Learnt from")
    assert "63 patches (set main) of 2 slides of 2 patients" in learnt

    made_up.write_splits(made_up_run, [("colon_1", "A", "train", 0, 0.7), ("colon_1", "A", "validation", 0.7, 1)])
    status, text = said(made_up_run, "held out are")
    assert status == "look"
    assert "regions of one slide" in text
    assert "nothing here speaks of other patients" in text
    assert "70% to 100% of its width" in report(made_up_run).text

    rows = [("colon_1", "A", "train", 0, 1), ("colon_2", "A", "validation", 0, 1)]
    made_up.write_splits(made_up_run, rows)
    status, text = said(made_up_run, "Leak")
    assert status == "bad"
    assert "(A)" in text

    made_up.write_splits(made_up_run, rows[:1])
    assert said(made_up_run, "Nothing was held out")[0] == "bad"


def test_made_up_slides_are_called_made_up(made_up_run):
    assert not any("phantoms" in text for text in verdict(made_up_run))
    for name in ("colon_1", "colon_2"):
        path = made_up_run / f"slides/{name}.json"
        path.write_text(json.dumps({"slide": name, "path": f"run:phantoms/{name}.tif", "error": None}))
    status, text = said(made_up_run, "phantoms")
    assert status == "look"
    assert "All of these slides are made up" in text


def change_seams(run, scores):
    """Give the levels of the synthetic slide these (low, score, high)."""
    path = run / "evaluation/synthetic_001/coherence.json"
    found = json.loads(path.read_text())
    found["levels"] = [found["levels"][-1] | {"level": k} for k in range(len(scores))]
    for level, (low, score, high) in zip(found["levels"], scores):
        level["seams"] = level["seams"] | {"low": low, "score": score, "high": high}
    path.write_text(json.dumps(found))


def test_seams_in_words(made_up_run):
    assert said(made_up_run, "Tiles")[0] == "good"
    change_seams(made_up_run, [(0.97, 1.0, 1.04)] * 9 + [(1.01, 1.04, 1.07)])
    status, text = said(made_up_run, "Tiles")
    assert status == "good"  # 1 of 10 at 2.5 % each is what chance gives in 22 % of runs
    assert "1 of 10" in text
    change_seams(made_up_run, [(0.97, 1.0, 1.04)] * 7 + [(1.01, 1.04, 1.07)] * 3)
    assert said(made_up_run, "faint seams")[0] == "look"
    change_seams(made_up_run, [(0.97, 1.0, 1.04)] * 9 + [(1.8, 2.1, 2.4)])
    status, text = said(made_up_run, "Tiles")
    assert status == "bad"
    assert "2.10 (95 % interval 1.80 to 2.40)" in text
    assert "level 9 of synthetic_001" in text


@pytest.mark.parametrize(
    "mean,worst,status,words",
    [
        (0.3, 0.8, "good", "to rounding"),
        (0.4, 1.2, "good", "closely"),  # rounding to grey steps moves no pixel by more than 1
        (1.1, 6.0, "good", "closely"),
        (5.0, 40.0, "look", "depart"),
        (30, 90, "bad", "depart"),
    ],
)
def test_scales_in_words(made_up_run, mean, worst, status, words):
    path = made_up_run / "evaluation/synthetic_001/coherence.json"
    found = json.loads(path.read_text())
    found["levels"][2]["cross_scale"]["tissue"].update(mean=mean, max=worst)
    path.write_text(json.dumps(found))
    assert said(made_up_run, "Scales")[0] == status
    assert words in said(made_up_run, "Scales")[1]


def test_overfitting_is_seen_in_the_losses(made_up_run):
    assert said(made_up_run, "Learning of unet")[0] == "fact"
    with open(made_up_run / "models/unet/train.jsonl", "a") as file:
        file.write(json.dumps({"step": 800, "validation_loss": 0.9}) + "\n")
    status, text = said(made_up_run, "Learning of unet")
    assert status == "look"
    assert "0.430 at step 600" in text


def test_a_slide_without_tissue_plan_still_has_a_page(made_up_run):
    with h5py.File(made_up_run / "synthetic/synthetic_001/level2.h5", "a") as file:
        del file["image"]
    assert "synthetic_001 could not be shown" in report(made_up_run).text


# ------------------------------------------------------------------------------------------------ Snakemake's captions


@pytest.mark.parametrize("wildcards", [{}, {"slide": "synthetic_001", "model": "unet"}])
def test_captions_of_the_snakemake_report(root, wildcards):
    captions = sorted((root / "workflow/report").glob("*.rst"))
    names = {"workflow", "contact_sheet", "loss_curve", "overlay", "coherence", "synthetic_slide"}
    assert names <= {path.stem for path in captions}
    for path in captions:
        job = {"wildcards": wildcards, "config": {"run": "demo"}}
        text = jinja2.Template(path.read_text(), undefined=jinja2.StrictUndefined).render(snakemake=job)
        publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
        assert len(text) > 60


def test_both_sides_of_nuclei_stand_in_a_table(made_up_run):
    row = {"name": "nucleus_area", "kind": "morphology", "encoder": "nuclei", "unit": "um2", "mpp": 1.0, "value": 4.3}
    row |= {"floor": 1.0, "real": 44.2, "generated": 48.5, "real_median": 37.1, "generated_median": 41.9}
    (made_up_run / "evaluation/metrics.json").write_text(json.dumps([row, row | {"real": None, "mpp": 0.5}]))
    text = report(made_up_run).text
    table = text[text.index("mean, generated") :]
    assert re.search(r"nucleus_area\s+um2\s+1\s+48.5\s+44.2\s+41.9\s+37.1", table)
    assert text.count("37.1") == 1, "where one side has nothing there is no row"
