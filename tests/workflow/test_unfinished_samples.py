"""Steps of labelled patches, samples, a study and readers that fail in a rerun; with test_unfinished.py, every kind of step."""

import re
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "study"))
from made_up_readers import SCALES, answers_by, save

from histogenesis.core.files import read_json

from .lab import Lab, set_up
from .test_studies import PATH, tiles
from .test_unfinished import KINDS, fails_and_is_made_again

pytestmark = [pytest.mark.workflow, pytest.mark.long]

# As KINDS of test_unfinished.py.
OF_SAMPLES = {
    "read_labelled": ("patches/tiles/tiles.h5", {"split_groups", "train_model", "evaluate_samples"}),
    "split_groups": ("patches/tiles/splits.tsv", {"train_model", "evaluate_samples", "train_on_real"}),
    "measure_reconstruction": ("evaluation/reconstruction/vq.json", set()),
    "draw_samples": ("samples/main*/samples.h5", {"evaluate_samples", "measure_utility", "gather_study"}),
    "take_samples": ("samples/brought/samples.h5", {"evaluate_samples", "measure_utility"}),
    "evaluate_samples": ("evaluation/samples/*/metrics.json", {"gather_study"}),
    "train_on_real": ("evaluation/classifiers/tiles.safetensors", {"measure_utility", "gather_study"}),
    "measure_utility": ("evaluation/samples/*/utility.json", {"gather_study"}),
    "gather_study": ("study/table.json", set()),
    "make_reading": ("reading/survey/key.json", {"analyse_reading"}),
    "analyse_reading": ("reading/survey/analysis/analysis.json", set()),
}
# Rules whose failure is not tried, each with the reason.
EXCEPTIONS = {
    "upscale_level": "makes what draw_level makes, of levels of another kind",
    "give_level": "likewise",
    "cut_regions": "makes what cut_patches makes, of patch sets of another kind",
    "take_model": "makes what train_model makes, of models of another kind",
    "draw_share": "its outputs are temporary; what it has drawn lies in the level's state (test_parts.py)",
    "write_viewer": "is made when it is asked for by name alone",
    "write_recipe": "has no script: it runs within Snakemake",
}


@pytest.fixture(scope="module")
def finished_study(root, tmp_path_factory) -> Lab:
    """The tiny twin of `diffusion4path` without its latent model, with readers who have answered."""
    lab = set_up(root, tmp_path_factory.mktemp("study") / "finished")
    tiles(lab.slides / "tiles")
    values = yaml.safe_load((root / PATH).read_text()) | {"run": "lab"}
    del values["models"]["ldm"], values["samples"]["latent"]
    values["reading"] = {"survey": {"kind": "survey", "samples": "main_sampler-ddpm_seed-1", "each": 4, "rated": 2}}
    (lab.project / "recipe.yaml").write_text(yaml.safe_dump(values))
    lab.make()
    key = read_json(lab.results / "reading/survey/key.json")
    rated = {scale: 4 for scale in SCALES}
    answers = answers_by(key, lambda row, _: rated if row["part"] == "rate" else row["truth"])
    save(lab.project / "answers/lab/survey", key, "knows", answers)
    lab.make()
    return lab


@pytest.mark.parametrize("rule", OF_SAMPLES)
def test_what_a_failed_rerun_has_deleted_is_planned_by_the_next(rule, finished_study, tmp_path):
    lab = finished_study.copy(tmp_path / "copy")
    fails_and_is_made_again(lab, f"scripts/{rule}.py", rule, *OF_SAMPLES[rule])


def test_every_rule_is_tried_or_said_not_to_be(root):
    rules = {
        name
        for path in (root / "rules").glob("*.smk")
        for name in re.findall(r"^ *rule (\w+):", path.read_text(), re.M)
    }
    tried = {rule for rule, *_ in KINDS.values()} | OF_SAMPLES.keys()
    assert tried.isdisjoint(EXCEPTIONS) and tried | EXCEPTIONS.keys() == rules
