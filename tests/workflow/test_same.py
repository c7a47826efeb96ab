"""A step that makes the same bytes again ends there; one that makes others goes on as far as they differ."""

import re

import pytest

from .lab import Lab
from .test_reruns import both, recipe, source

pytestmark = pytest.mark.workflow


def ran(lab: Lab, *arguments: str) -> list[str]:
    done = lab.run.run(lab.project / "recipe.yaml", *arguments, **lab.environment)
    return re.findall(r"^(?:local)?rule (\w+):$", done.stdout + done.stderr, re.MULTILINE)


def times(lab: Lab) -> dict[str, int]:
    files = (
        path for path in lab.results.rglob("*") if path.is_file() and path.suffix in (".h5", ".safetensors", ".tif")
    )
    return {str(path.relative_to(lab.results)): path.stat().st_mtime_ns for path in files}


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
