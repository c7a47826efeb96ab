"""What is planted in a run's inputs, the check finds: all of it in one go, each at its place, with the nearest right word."""

import copy
import json
import shutil

import numpy as np
import pytest
import tifffile
import yaml

from histogenesis.core.errors import BadInput
from histogenesis.phantom.slide import make_phantom
from histogenesis.recipe import Phantom, parse_recipe
from histogenesis.steps.check import check, check_start, stop_on


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide of 2 mpp."""
    folder = tmp_path_factory.mktemp("slide")
    make_phantom(Phantom(name="a", width_mm=1.2, height_mm=1.0, mpp=2), folder / "a.tif", folder / "mask.png")
    return folder / "a.tif"


@pytest.fixture
def lab(root, tmp_path, monkeypatch, slide):
    """The values of a recipe that is right, on two slides in a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISTOGENESIS_SLIDE_ROOT", raising=False)
    (tmp_path / "slides").mkdir()
    for name in ("a.tif", "b.tif"):
        shutil.copy(slide, tmp_path / "slides" / name)
    (tmp_path / "slides.tsv").write_text("slide\tpath\tpatient\tlabel\na\ta.tif\tp\tbenign\nb\tb.tif\tq\ttumour\n")
    values = copy.deepcopy(yaml.safe_load((root / "config/test/harb.yaml").read_text()))
    values["slides"] = {"table": "slides.tsv", "root": "slides"}
    return values


def findings(values, **options):
    recipe = parse_recipe(values)
    return [str(one) for one in check(recipe, recipe_dir(recipe), **options)]


def recipe_dir(recipe):
    from pathlib import Path

    return Path("results", recipe.run)


def test_nothing_is_found_where_nothing_is_wrong(lab):
    assert findings(lab) == []


def planted(lab, folder):
    """What is wrong in a dozen places; place -> what is said of it."""
    (folder / "slides.tsv").write_text(
        "slide\tpath\tpatient\tlabel\ttissue\n"
        "a\ta.tif\tp\tbenign\toutline.geojson\n"
        "b\tbb.tif\tp\ttumour\t\n"
        "c\tc.tif\tp\ttumour\t\n"
        "d\td.tif\tp\ttumour\t\n"
    )
    (folder / "slides/outlines.geojson").write_text("{}")
    tifffile.imwrite(folder / "slides/c.tif", np.full((256, 256, 3), 200, np.uint8), tile=(128, 128))
    whole = (folder / "slides/a.tif").read_bytes()
    (folder / "slides/d.tif").write_bytes(whole[: len(whole) // 2])
    lab["patches"]["main"] |= {"labelled": True, "mpps": [16, 8, 4, 1]}
    lab["models"]["shared"] |= {"conditions": ["mpp", "label"], "classes": ["benign", "tumor"]}
    lab["synthetic"]["levels"][0] |= {"label": "tumours"}
    lab["models"]["taken"] = {"path": "results/other/models/shared"}
    lab["models"]["more"] = copy.deepcopy(lab["models"]["shared"]) | {"classes": None, "conditions": ["mpp"]}
    lab["models"]["more"]["training"] |= {"start": "results/none"}
    (folder / "encoders").mkdir()
    (folder / "encoders/uni.pt").write_text("")
    lab["evaluation"]["encoders"] = ["efficientnet-lite0", {"name": "unii", "file": "encoders/uni2.pt"}]
    return {
        "slides.tsv, slide a, tissue": "outline.geojson: there is no such file: correct it; did you mean outlines.geojson?",
        "slides.tsv, slide b, path": "bb.tif: there is no such file: correct it; did you mean b.tif?",
        "slides.tsv, slide c": "does not say its mpp",
        "slides.tsv, slide d": "cut off",
        "patches.main.mpps[3]": "1 is finer than every slide (2 mpp)",
        "split": "there is one patient",
        "models.shared.classes": "no class 'tumor'; did you mean 'tumour'?",
        "synthetic.levels[0].label": "no class 'tumours'; did you mean 'tumour'?",
        "models.taken": "results/other/models/shared: no folder with",
        "models.more.training.start": "results/none: no folder with",
        "evaluation.encoders[1].name": "no encoder 'unii'; did you mean 'uni'?",
        "evaluation.encoders[1].file": "encoders/uni2.pt: there is no such file: correct it; did you mean uni.pt?",
    }


def test_everything_that_is_planted_is_found_in_one_go(lab, tmp_path):
    expected = planted(lab, tmp_path)
    found = {}
    for line in findings(lab):
        _, place, what = line.split(": ", 2)
        found.setdefault(place, what)
    assert found.keys() == expected.keys()
    for place, what in expected.items():
        assert what in found[place]


def test_a_bad_slide_stops_a_run_only_where_the_recipe_says_so(lab, tmp_path):
    (tmp_path / "slides/b.tif").unlink()
    shutil.copy(tmp_path / "slides/a.tif", tmp_path / "slides/c.tif")
    with open(tmp_path / "slides.tsv", "a") as file:
        file.write("c\tc.tif\tr\t\n")
    recipe = parse_recipe(lab)
    (note,) = check_start(recipe, tmp_path / "results/r")
    assert "slide b" in str(note) and not note.stops
    stop_on([note])
    lab["slides"]["on_bad"] = "stop"
    with pytest.raises(BadInput, match=r"slide b, path: .*there is no such file"):
        stop_on(check_start(parse_recipe(lab), tmp_path / "results/r"))
    handed_on = tmp_path / "results/r"
    handed_on.mkdir(parents=True)
    (handed_on / "left_out.json").write_text("[]")
    assert check_start(parse_recipe(lab), handed_on) == [], "a run that was handed on has no slides"


def test_no_slide_at_all_is_said_of_the_slide_root(lab):
    lab["slides"]["root"] = "elsewhere"
    assert any(line.startswith("error: slides.root: no slide is there") for line in findings(lab))


def test_a_model_of_another_run_must_fit_its_levels(lab, tmp_path):
    from histogenesis.recipe import Model

    section = Model.model_validate(lab["models"]["shared"])
    folder = tmp_path / "other"
    folder.mkdir()
    facts = {"section": section.model_dump(mode="json"), "mpps": [16.0, 8.0], "classes": []}
    (folder / "model.json").write_text(json.dumps(facts))
    (folder / "model.safetensors").write_bytes(b"")
    lab["models"] = {"shared": {"path": str(folder)}}
    (line,) = findings(lab)
    assert line.startswith("error: synthetic.levels[2].model: ") and "never sees 4" in line


@pytest.mark.parametrize("executor", ["executor: slurm\n", ""], ids=["a whole profile", "a site's, over it"])
def test_a_profiles_partitions_are_those_of_the_cluster(executor, lab, tmp_path, monkeypatch):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "sinfo").write_text("#!/bin/sh\nprintf 'cpu-short\\ngpu\\n'\n")
    (bin_folder / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    (tmp_path / "site").mkdir()
    (tmp_path / "site/config.yaml").write_text(
        f"{executor}default-resources: {{slurm_partition: \"'cpu_short'\", gpu_partition: \"'gpus'\"}}\n"
        "set-resources: {train_model: {slurm_partition: gpu}, draw_level: {slurm_partition: 'gpu,long'}}\n"
    )
    at = "site/config.yaml: default-resources"
    cpu, gpu, long = findings(lab, profile="site")
    assert f"{at}.slurm_partition: no partition 'cpu_short'; did you mean 'cpu-short'?" in cpu
    assert f"{at}.gpu_partition: no partition 'gpus'; did you mean 'gpu'?" in gpu
    assert "set-resources.draw_level.slurm_partition: no partition 'long'" in long


def test_a_profile_that_names_no_partition_needs_no_slurm(lab, root, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert findings(lab, profile=str(root / "profiles/default")) == []
    (line,) = findings(lab, profile=str(root / "slurm"))
    assert "there is no SLURM here" in line
