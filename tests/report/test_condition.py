"""A slide that is empty, of one colour or of a colour that no real slide has is said to be so before all else."""

import json

import pytest

from histogenesis.report.gather import gather
from histogenesis.report.verdict import bottom_line, statements
from histogenesis.report.verdict.likeness import colour_distance

REAL = [[70.0, 20.0, -10.0], [76.0, 20.0, -10.0], [70.0, 28.0, -10.0]]  # CIELAB: 6 and 8 apart, the third furthest


def level(lab, contrast=10.0, **more):
    return {"mpp": 4.0, "slide": "s", "lab": lab, "contrast": contrast, "n": 40} | more


def said(run, lab=REAL[0], contrast=10.0, tissue=0.4, real=REAL):
    found = {"real": {"tissue": {"a": 0.3, "b": 0.6}, "levels": [level(one) for one in real]}}
    found["synthetic"] = [{"slide": "synthetic_001", "tissue": tissue, "levels": [level(lab, contrast)]}]
    (run / "evaluation/condition.json").write_text(json.dumps(found))
    every = statements(gather(run))
    return bottom_line(every), [one for one in every if one.topic == "condition" and one.status == "bad"]


@pytest.mark.parametrize(
    "fault,start",
    [
        ({"tissue": 0.0}, "Failed: synthetic_001 is empty"),
        ({"tissue": 0.099}, "Failed: synthetic_001 is nearly empty"),  # under a third of the emptiest real slide
        ({"contrast": 2.4}, "Failed: synthetic_001 at 4 mpp is of one colour"),
        ({"contrast": 31.0}, "Does not look like tissue"),
        (
            {"lab": [39.9, 20.0, -10.0]},
            "Failed: colour off on synthetic_001 at 4 mpp",
        ),  # no stain is 30 from all others
    ],
)
def test_a_fault_leads_in_red(made_up_run, fault, start):
    line, bad = said(made_up_run, **fault)
    assert line.status == "bad" and line.text.startswith(start)
    assert len(bad) == 1


@pytest.mark.parametrize(
    "lab,real", [([70.0, 7.9, -10.0], REAL[:1]), ([70.0, 45.0, -10.0], REAL), ([41.0, 20.0, -10.0], REAL)]
)
def test_a_colour_that_another_laboratorys_slide_may_have_is_told_and_no_failure(made_up_run, lab, real):
    line, bad = said(made_up_run, lab=lab, real=real)
    assert not bad and line.text.startswith("Can be told from tissue")
    assert "colour off on synthetic_001 at 4 mpp" in line.text


@pytest.mark.parametrize(
    "usual",
    [
        {},
        {"tissue": 0.101},
        {"contrast": 2.6},
        {"contrast": 29.0},
        {"lab": [70.0, 8.1, -10.0], "real": REAL[:1]},
        {"lab": [70.0, 43.0, -10.0]},  # 15 from the nearest; twice the 8 that one real slide has
    ],
)
def test_what_real_slides_do_too_is_no_fault(made_up_run, usual):
    assert said(made_up_run, **usual)[1] == []


def test_the_distance_of_a_colour_is_that_to_the_nearest_slide():
    beside = [level(one) for one in REAL]
    assert colour_distance(level([73.0, 24.0, -10.0]), beside) == (pytest.approx(5.0), pytest.approx(16.0))
    assert colour_distance(level([70.0, 20.0, 0.0]), beside[:1]) == (pytest.approx(10.0), pytest.approx(12.0))
