"""What the eye sees at once stands in the first line: planted faults, measured by the evaluation itself.

Real tissue is that of the CC0 slide, cut into stripes: some are trained on, some held out, some are "generated" as they
are or with the fault.
"""

import json

import numpy as np
import pytest
from PIL import Image
from planted import MPP, SIDE, image_set, judge_once, write_run

from histogenesis.evaluation.evaluate import evaluate
from histogenesis.evaluation.evidence import write_evidence
from histogenesis.evaluation.sets import Sets
from histogenesis.metrics.encoders.features import ImageSet
from histogenesis.metrics.encoders.registry import load
from histogenesis.recipe import Evaluation
from histogenesis.report.build import build_report
from histogenesis.slides.read import open_slide

pytestmark = [pytest.mark.slow, pytest.mark.long]
FAST, SEEING = "stain-statistics", "efficientnet-lite0"
# What only an encoder of structure tells apart.
SEEN = ("none", "noise of all colours", "phase noise", "blur", "mosaic")


@pytest.fixture(scope="module")
def stripes(cmu_slide) -> dict[str, list[np.ndarray]]:
    """Patches (n, 64, 64, 3) uint8 of tissue at 1 mpp by stripes of the slide, every third for one use."""
    with open_slide(cmu_slide) as slide:
        at = [(x, y) for x in range(0, slide.width_px - 128, 128) for y in range(0, slide.height_px - 128, 128)]
        patches = {place: slide.read(*place, SIDE, MPP) for place in at}
    kept = {place: patch for place, patch in patches.items() if (patch.min(axis=-1) < 215).mean() > 0.5}
    found = {"train": [], "held_out": [], "generated": []}
    for k, x in enumerate(sorted({x for x, _ in kept})):
        found[list(found)[k % 3]].append(np.stack([patch for (other, _), patch in kept.items() if other == x]))
    return found


@pytest.fixture(scope="module")
def judged(stripes, cmu_slide, tmp_path_factory):
    """fault -> (bottom line, statements, run folder), each measured once."""
    with open_slide(cmu_slide) as slide:
        picture = slide.read(400, 400, 384, MPP)

    def write(run, fault):
        write_run(run, fault, stripes, picture, (FAST, SEEING) if fault in SEEN else (FAST,))

    return judge_once(tmp_path_factory, write)


@pytest.mark.parametrize(
    "fault,words",
    [
        ("empty", "Failed: synthetic_001 is empty"),
        ("one colour", "Failed: synthetic_001 at 1 mpp is of one colour"),
        ("another colour", "Failed: colour off on synthetic_001 at 1 mpp"),
        ("copies", "Copies its training patches"),
    ],
)
def test_a_failed_slide_and_a_copier_lead_in_red(judged, fault, words):
    line, _, _ = judged(fault)
    assert line.status == "bad"
    assert line.text.startswith(words)


@pytest.mark.parametrize(
    "fault,words",
    [
        ("noise of all colours", "Does not look like tissue"),
        ("phase noise", "Does not look like tissue"),
        ("blur", "Does not look like tissue"),
        ("mosaic", "Does not look like tissue"),
    ],
)
def test_what_is_no_tissue_is_never_called_so(judged, fault, words):
    line, _, _ = judged(fault)
    assert line.status == "bad"
    assert line.text.startswith(words)


def test_real_tissue_judged_as_if_it_were_generated_is_not_accused(judged):
    line, found, _ = judged("none")
    assert line.text.startswith(("Nothing found that tells it from tissue", "As close to real tissue"))
    assert not [one.text for one in found if one.status == "bad"]


def test_the_report_of_each_leads_with_its_sentence(judged):
    for fault in ("none", "empty", "copies"):
        line, _, run = judged(fault)
        assert build_report(run, run / "report.html") == line.text
        assert f'<p class="bottom-line {line.status}">' in (run / "report.html").read_text()


def test_the_furthest_patches_are_the_planted_ones(stripes, tmp_path):
    """Five of the generated patches are speckle: the evidence names just these, the furthest first."""
    parts = [part.copy() for part in stripes["generated"]]
    everything = np.concatenate(parts)
    planted = np.random.default_rng(1).choice(len(everything), 5, replace=False)
    everything[planted] = np.random.default_rng(2).integers(0, 256, (5, SIDE, SIDE, 3))
    names = np.repeat("s", len(everything))
    generated = ImageSet("generated", everything, np.full(len(names), MPP), names, names)
    sets = Sets(image_set("train", stripes["train"]), image_set("held_out", stripes["held_out"]), generated)
    evaluate(sets, [load("stain-statistics")], Evaluation(images=100, n_resamples=10, n_folds=2), tmp_path, 1)
    found = write_evidence(tmp_path, sets, ["stain-statistics", "unknown"])
    (one,) = found["encoders"]["stain-statistics"].values()
    assert {pair["generated"] for pair in one["furthest"][:5]} == set(planted.tolist())
    assert Image.open(tmp_path / one["picture"]).width > 8 * SIDE
    assert list(found["encoders"]) == ["stain-statistics"]
    json.dumps(found)
