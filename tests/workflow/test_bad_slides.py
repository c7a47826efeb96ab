"""Bad slides are named and set aside, and the rest of the run goes on; or they stop it, where the recipe says so."""

import json

import numpy as np
import pytest
import tifffile
import yaml

from .conftest import Run

pytestmark = [pytest.mark.workflow, pytest.mark.long]

EXPECTED = {
    "missing": "there is no such file",
    "empty": "the file is empty",
    "text": "is a text file, not a slide",
    "no_mpp": "the file does not say its mpp: give it in the `mpp` column",
    "cut_off": "cut off",
}


@pytest.fixture
def recipe(root, finished, tmp_path):
    """The tiny recipe on a table of three good slides and five bad ones."""
    folder = tmp_path / "slides"
    folder.mkdir()
    phantoms = finished.folder / "results/test-harb/phantoms"
    rows = ["slide\tpath\tpatient"]
    for name in ("phantom_a", "phantom_b", "phantom_c"):
        (folder / f"{name}.tif").symlink_to(phantoms / f"{name}.tif")
        rows.append(f"{name}\t{name}.tif\t{name}")
    (folder / "empty.svs").touch()
    (folder / "text.svs").write_text("this is no slide\n" * 100)
    tifffile.imwrite(folder / "no_mpp.tif", np.full((256, 256, 3), 200, np.uint8), tile=(128, 128))
    whole = (phantoms / "phantom_a.tif").read_bytes()
    (folder / "cut_off.tif").write_bytes(whole[: len(whole) // 2])
    for name, file in [("missing", "missing.svs"), ("empty", "empty.svs"), ("text", "text.svs"), ("no_mpp", "no_mpp.tif"),
                       ("cut_off", "cut_off.tif")]:  # fmt: skip
        rows.append(f"{name}\t{file}\t{name}")
    (tmp_path / "slides.tsv").write_text("\n".join(rows) + "\n")
    values = yaml.safe_load((root / "config/test/harb.yaml").read_text())
    values["slides"] = {"table": str(tmp_path / "slides.tsv"), "root": str(folder)}
    values["synthetic"]["slides"] = 1
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_bad_slides_are_set_aside_and_the_run_goes_on(root, recipe, tmp_path):
    run = Run(root, tmp_path / "run")
    run.folder.mkdir()
    run.run(recipe)
    results = run.folder / "results/test-harb"
    report = (results / "report.html").read_text()
    for name, message in EXPECTED.items():
        record = json.loads((results / f"slides/{name}.json").read_text())
        assert message in record["error"], record["error"]
        assert "\n" not in record["error"]
        assert name in report and message.split("`")[0].split(":")[0] in report
        assert str(tmp_path) not in record["error"], "no path of this machine"
    assert (results / "synthetic/synthetic_001.tif").exists()
    assert not set(EXPECTED) & {line.split("\t")[0] for line in (results / "splits.tsv").read_text().splitlines()}
    assert run.planned(recipe) == {}


def test_or_they_end_the_run_where_the_recipe_says_so(root, recipe, tmp_path):
    values = yaml.safe_load(recipe.read_text())
    values["slides"]["on_bad"] = "stop"
    recipe.write_text(yaml.safe_dump(values))
    run = Run(root, tmp_path / "run")
    run.folder.mkdir()
    done = run.run(recipe, "--until", "register_slide", "--keep-going", check=False)
    assert done.returncode != 0
    for message in EXPECTED.values():
        assert message in done.stdout + done.stderr


def test_a_table_with_contradictions_is_refused_before_anything_runs(root, recipe, tmp_path):
    table = tmp_path / "slides.tsv"
    table.write_text(
        "slide\tpath\tpatient\tmpp\tsplit\na\tx.svs\tp\t0\ttrain\na\ty.svs\tp\t0.5\tvalidation\nb\tz.svs\tq\t1000\t\n"
    )
    done = Run(root, tmp_path).run(recipe, check=False)
    output = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in output
    for message in ("mpp '0' cannot be", "mpp '1000' cannot be"):
        assert message in output
