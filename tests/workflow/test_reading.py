"""Reader studies in a real run: the folder to hand out is made, answers that come back are analysed, and the report says so."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "study"))
from made_up_readers import SCALES, answers_by, save

from .conftest import Run
from .test_studies import PATH, tiles

pytestmark = pytest.mark.workflow
READING = {
    "whole": {"kind": "whole-slides", "each": 1},
    "pairs": {"kind": "pairs", "each": 3, "size_px": 16, "mpps": [8, 4], "min_tissue": 0.2, "real": "all"},
}


@pytest.fixture(scope="module")
def lab(finished, tmp_path_factory):
    """The finished tiny run, copied, with a recipe that has readers."""
    folder = tmp_path_factory.mktemp("reading") / "lab"
    shutil.copytree(finished.folder, folder)
    recipe = yaml.safe_load((finished.root / "config/test/harb.yaml").read_text()) | {"reading": READING}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "results/test-harb/made_from.txt").unlink()  # this recipe takes the other's place
    return type(finished)(finished.root, folder)


def test_from_a_recipe_to_what_readers_say(lab):
    recipe = lab.folder / "recipe.yaml"
    assert lab.planned(recipe) == {"make_reading": 2, "write_recipe": 1, "write_report": 1}
    lab.run(recipe)
    reading = lab.folder / "results/test-harb/reading"
    for name in READING:
        assert (reading / name / "for_readers/index.html").is_file()
    assert len(list((reading / "whole/for_readers/tiles").iterdir())) == 2
    key = json.loads((reading / "pairs/key.json").read_text())
    for code in ("a", "b", "c"):
        save(lab.folder / "answers/test-harb/pairs", key, code, answers_by(key, lambda row, n: row["truth"]))
    assert lab.planned(recipe) == {"analyse_reading": 1, "write_report": 1}
    lab.run(recipe)
    found = json.loads((reading / "pairs/analysis/analysis.json").read_text())
    assert found["readers"] == 3 and found["parts"][0]["pooled"]["value"] == 1 and found["problems"] == []
    page = (lab.folder / "results/test-harb/report.html").read_text()
    assert "What readers say" in page and "3 readers right in 6 of 6" not in page
    assert "3 readers right in 18 of 18 answers (1 to 1): they tell them apart" in page
    assert lab.planned(recipe) == {}
    shutil.move(lab.folder / "answers", lab.folder / "elsewhere")
    assert lab.planned(recipe) == {}, "answers that are away are no reason to forget what they said"
    assert lab.planned(recipe, "--config", "accept_missing=true").keys() == {"write_report"}
    shutil.move(lab.folder / "elsewhere", lab.folder / "answers")
    one = next((lab.folder / "answers/test-harb/pairs").glob("*.json"))
    one.rename(lab.folder / "one.json")
    assert lab.planned(recipe) == {}, "two of three"
    (lab.folder / "one.json").rename(one)
    fourth = save(lab.folder / "answers/test-harb/pairs", key, "d", answers_by(key, lambda row, n: "left"))
    assert lab.planned(recipe) == {"analyse_reading": 1, "write_report": 1}, "one more"
    fourth.unlink()
    values = yaml.safe_load(recipe.read_text())
    values["reading"]["pairs"]["seed"] = 2
    recipe.write_text(yaml.safe_dump(values))
    planned = lab.planned(recipe)
    assert planned["make_reading"] == 1 and "draw_level" not in planned


def test_a_survey_from_patches_of_two_classes_to_what_readers_say(root, tmp_path):
    """Son's five parts, of samples that a model of the run drew: made, answered by one who knows and one who always says the
    first, analysed."""
    lab = Run(root, tmp_path)
    tiles(tmp_path / "tiles")
    values = {key: value for key, value in yaml.safe_load((root / PATH).read_text()).items() if key != "study"}
    values["models"] = {"ddpm": values["models"]["ddpm"]}
    values["samples"] = {"main": values["samples"]["main"]}
    values["reading"] = {"survey": {"kind": "survey", "samples": "main", "each": 4, "rated": 2}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    lab.snakemake("reading", "--cores", "2", "--configfile", str(tmp_path / "recipe.yaml"))
    reading = tmp_path / "results/test-diffusion4path/reading/survey"
    assert (reading / "for_readers/index.html").is_file()
    key = json.loads((reading / "key.json").read_text())
    classes = {row["strata"]["class"] for row in key["questions"] if row["part"] != "pick-generated"}
    assert classes == {"normal", "tumour"}

    def knows(row, _):
        return {scale: 4 for scale in SCALES} if row["part"] == "rate" else row["truth"]

    first = {part["name"]: sorted(part["options"])[0] for part in key["parts"] if part["name"] != "rate"}
    for code, choose in (
        ("knows", knows),
        ("first", lambda row, n: {scale: 2 for scale in SCALES} if row["part"] == "rate" else first[row["part"]]),
    ):
        save(tmp_path / "answers/test-diffusion4path/survey", key, code, answers_by(key, choose))
    lab.snakemake("reading", "--cores", "2", "--configfile", str(tmp_path / "recipe.yaml"))
    found = json.loads((reading / "analysis/analysis.json").read_text())
    assert found["readers"] == 2 and found["problems"] == []
    *told, rated = found["parts"]
    assert [part["part"] for part in told] == ["match-class", "name-class", "pick-generated", "origin"]
    for part in told:
        right = {row["reader"]: row["value"] for row in part["by_reader"]}
        assert right == {"knows": 1, "first": 0.5}, "half of the right answers are the first one"
    assert rated["kind"] == "rate"
    assert (reading / "analysis/analysis.png").is_file() and (reading / "analysis/answers.csv").is_file()
