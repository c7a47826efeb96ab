"""A run may be a part of one: a training, a drawing with a model that is there; and a target takes what it needs, no more."""

import json
import re

import pytest
import yaml

from histogenesis.recipe import Model

from .conftest import Run

pytestmark = pytest.mark.workflow
TISSUE = {
    "make_phantom": 3,
    "register_slide": 3,
    "segment_tissue": 3,
    "split_patients": 1,
    "cut_patches": 3,
    "check_data": 1,
}
TARGETS = {"models", "slides", "evaluation", "study", "report"}


@pytest.fixture
def values(root):
    return yaml.safe_load((root / "config/test/harb.yaml").read_text())


@pytest.fixture
def planned(root, tmp_path):
    def planned(values, *targets):
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
        jobs = Run(root, tmp_path).planned(tmp_path / "own.yaml", "--", *targets)
        return {rule: count for rule, count in jobs.items() if rule not in TARGETS}

    return planned


def test_a_training_alone(values, planned):
    del values["synthetic"]
    assert planned(values) == {**TISSUE, "train_model": 1, "write_recipe": 1, "write_report": 1}


@pytest.fixture
def model_folder(values, tmp_path):
    """A model that another run has trained, as far as planning looks at it."""
    section = Model.model_validate(values["models"]["shared"])
    (tmp_path / "model").mkdir()
    facts = {"section": section.model_dump(mode="json"), "mpps": [16.0, 8.0, 4.0], "classes": [], "patch_px": 16}
    (tmp_path / "model/model.json").write_text(json.dumps(facts))
    (tmp_path / "model/model.safetensors").touch()


def test_a_drawing_alone_needs_a_models_folder_and_nothing_else(values, planned, model_folder):
    values = {"run": "drawn", "models": {"shared": {"path": "model"}}, "synthetic": values["synthetic"]}
    drawing = {"take_model": 1, "draw_level": 6, "plan_tissue": 2, "stitch_slide": 2}
    assert planned(values) == {**drawing, "write_recipe": 1, "write_report": 1}
    assert planned(values, "slides") == drawing


def test_nothing_is_measured_where_the_recipe_says_so(values, planned):
    values["evaluation"]["enabled"] = False
    drawing = {"train_model": 1, "draw_level": 6, "plan_tissue": 2, "stitch_slide": 2}
    assert planned(values) == {**TISSUE, **drawing, "write_recipe": 1, "write_report": 1}


def test_patches_alone_need_a_models_folder_and_nothing_else(values, planned, model_folder):
    samples = {"some": {"model": "shared", "images": 4, "sampler": {"kind": "heun", "steps": 2}}}
    alone = {"run": "patches", "models": {"shared": {"path": "model"}}, "samples": samples}
    alone["evaluation"] = {"enabled": False}
    assert planned(alone) == {"take_model": 1, "draw_samples": 1, "write_recipe": 1, "write_report": 1}


def test_a_judgement_alone_of_what_another_generator_made(values, planned, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/1.png").touch()
    del values["models"], values["synthetic"]
    values["samples"] = {"theirs": {"folder": "theirs", "compare": "main", "mpp": 4}}
    judging = {"take_samples": 1, "evaluate_samples": 1}
    assert planned(values) == {**TISSUE, **judging, "write_recipe": 1, "write_report": 1}
    assert planned(values, "evaluation") == {**{k: n for k, n in TISSUE.items() if k != "check_data"}, **judging}


def test_targets_take_what_they_need(values, planned):
    drawing = {"train_model": 1, "draw_level": 6, "plan_tissue": 2, "stitch_slide": 2}
    assert planned(values, "models") == {**TISSUE, "train_model": 1}
    assert planned(values, "slides") == {**TISSUE, **drawing}
    judged = planned(values, "evaluation")
    assert judged["evaluate_patches"] == 1 and judged["measure_coherence"] == 2 and "write_report" not in judged
    assert planned(values, "report").keys() >= {*judged, "write_report"}


def test_judged_is_the_model_that_drew_and_not_the_one_it_is_led_away_from(values, root, tmp_path):
    values["models"]["weak"] = values["models"]["shared"]
    values["synthetic"]["levels"][-1] |= {"weaker": "weak", "guidance": 1}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(values))
    plan = Run(root, tmp_path).snakemake("evaluation", "-n", "-p", "--configfile", tmp_path / "own.yaml").stdout
    judging = next(line for line in plan.splitlines() if "evaluate_patches.py" in line)
    assert "/models/shared/" in judging and "/models/weak/" not in judging
    assert plan.count("train_model.py") == 2


def test_a_level_is_drawn_before_what_finer_levels_need_is_trained(root, tmp_path):
    plan = Run(root, tmp_path).snakemake("--dry-run", "--configfile", root / "config/config.yaml").stdout
    found = re.findall(r"rule (train_model|draw_level|plan_tissue):\n(.+?)resources:", plan, re.DOTALL)
    first = {}
    for rule, text in found:
        name = re.search(r"wildcards:.*(?:model|k)=(\S+)", text)
        first[name[1] if name else rule] = int(re.search(r"priority: (\d+)", text)[1])
    in_order = ["plan_tissue", "0", "layout", "1", "glands", "2", "3", "cells", "4", "5"]
    assert [first[name] for name in in_order] == sorted((first[name] for name in in_order), reverse=True)
    assert first["layout"] == first["weak-layout"] > first["1"] > first["glands"] == first["weak-glands"]


def test_each_target_has_its_sentence(root, tmp_path):
    text = Run(root, tmp_path).snakemake("--list").stdout
    for name in (*TARGETS, "all"):
        assert f"\n{name} (" in f"\n{text}", f"`snakemake --list` says nothing of {name}"
