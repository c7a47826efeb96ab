"""A step that makes the same bytes again ends there; one that makes others goes on as far as they differ."""

import re
import shutil

import pytest

from .lab import Lab
from .test_reruns import append, both, module, recipe, source

pytestmark = pytest.mark.workflow


def ran(lab: Lab, *arguments: str) -> list[str]:
    done = lab.run.run(lab.project / "recipe.yaml", *arguments, **lab.environment)
    return re.findall(r"^(?:local)?rule (\w+):$", done.stdout + done.stderr, re.MULTILINE)


def broken(name: str, lab: Lab, *arguments: str) -> None:
    """A run fails, for this module raises; then the module is what it was."""
    path = lab.code / "src/histogenesis" / name
    before = path.read_text()
    module(name, append("raise RuntimeError('this version is broken')"))(lab)
    assert lab.run.run(lab.project / "recipe.yaml", *arguments, check=False, **lab.environment).returncode == 1
    path.write_text(before)


def bytes_of(lab: Lab) -> dict[str, bytes]:
    return {name: (lab.results / name).read_bytes() for name in times(lab)}


def times(lab: Lab) -> dict[str, int]:
    files = (path for path in lab.results.rglob("*") if path.suffix in (".h5", ".safetensors", ".tif"))
    names = {str(path.relative_to(lab.results)): path for path in files if path.is_file()}
    return {name: path.stat().st_mtime_ns for name, path in names.items() if not name.startswith("state/")}


def test_the_same_bytes_end_it(lab):
    """Other code of tissue and of drawing that does the same: both run, for the plan says so, and nothing below them."""
    both(source("workflow/scripts/segment_tissue.py"), source("workflow/scripts/draw_level.py"))(lab)
    planned, before = lab.planned(), times(lab)
    assert {"train_model", "cut_patches", "stitch_slide", "evaluate_patches"} <= planned.keys(), "a plan cannot know"
    assert set(ran(lab)) == {"segment_tissue", "draw_level", "all"}
    assert times(lab) == before
    assert lab.planned() == {} and not (lab.results / "state/before").exists()


def test_other_bytes_go_on(lab):
    """Less tissue to cut from, by two of three slides: their patches and all that learns from them, in its turn."""
    recipe("tissue.mpp", 12)(lab)
    assert set(ran(lab)) >= {
        "segment_tissue",
        "cut_patches",
        "train_model",
        "draw_level",
        "stitch_slide",
        "write_report",
    }
    assert lab.planned() == {}


@pytest.mark.parametrize("state", ["kept", pytest.param("gone", marks=pytest.mark.long)])
def test_of_a_failed_rerun_the_failed_step_alone_runs_again(state, lab):
    """With the old code it makes what it had made, also if it is trained anew; all that lies below was made from that."""
    before, written = bytes_of(lab), times(lab)
    broken("models/training.py", lab)
    assert not (lab.results / "models/coarse/model.safetensors").exists()
    if state == "gone":
        shutil.rmtree(lab.results / "state/train")
    assert {"draw_level", "stitch_slide", "evaluate_patches"} <= lab.planned().keys(), "a plan cannot know"
    assert set(ran(lab)) == {"train_model", "all"}
    assert (bytes_of(lab), times(lab)) == (before, written)
    assert lab.planned() == {} and not (lab.results / "state/before").exists()


def test_a_failed_rerun_that_then_makes_other_bytes_goes_on(lab):
    broken("models/training.py", lab)
    recipe("models.coarse.training.lr", 2e-3)(lab)
    before = bytes_of(lab)
    below = {"train_model", "draw_level", "plan_tissue", "stitch_slide", "extract_features", "evaluate_patches"}
    assert below <= set(ran(lab))
    assert all(content != before[name] for name, content in bytes_of(lab).items() if name.startswith("synthetic"))
    assert lab.planned() == {} and not (lab.results / "state/before").exists()


@pytest.mark.long
def test_a_step_that_never_ran_with_what_has_changed_runs_though_its_input_is_what_it_was(lab):
    """The first of two changed steps fails and is taken back, the second never ran."""
    module("canvas/engine.py")(lab)
    broken("models/training.py", lab)
    found = ran(lab)
    assert found.count("train_model") <= 2 and found.count("draw_level") == 3 and "stitch_slide" not in found


@pytest.mark.long
def test_what_was_left_behind_before_the_failure_runs(lab):
    """Masks of less tissue, from which no patches were cut yet; the same masks again are no reason to leave it so."""
    recipe("tissue.mpp", 12)(lab)
    assert "segment_tissue" in ran(lab, "--until", "segment_tissue")
    masks = {path: path.read_bytes() for path in lab.results.glob("tissue/*/mask.png")}
    before = (lab.results / "patches/fine/c.h5").read_bytes()
    broken("tissue/fesi.py", lab)
    assert not all(path.exists() for path in masks)
    assert "cut_patches" in ran(lab, "--until", "cut_patches")
    assert {path: path.read_bytes() for path in masks} == masks
    assert (lab.results / "patches/fine/c.h5").read_bytes() != before


@pytest.mark.long
def test_the_same_of_other_input_is_up_to_date(lab):
    """Masks that are other files and say the same; here all files are too large for Snakemake to take their checksums."""
    words = ["--max-checksum-file-size", "0"]
    assert lab.planned(*words) == {}
    again = """
import sys
from PIL import Image
path = sys.argv[sys.argv.index("--out-dir") + 1] + "/mask.png"
Image.open(path).save(path, compress_level=0)
"""
    source("workflow/scripts/segment_tissue.py", append(again))(lab)
    found = ran(lab, *words)
    assert "cut_patches" in found and "train_model" not in found
    assert lab.planned(*words) == {}
