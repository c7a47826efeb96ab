"""Words of degree follow from stated rules: each number against its scale, and one sentence of them all."""

import json

import pytest
import yaml

from histogenesis.report.blocks import Statement
from histogenesis.report.gather import gather
from histogenesis.report.verdict import bottom_line, rules, statements
from histogenesis.report.verdict.degrees import degree

FID = {"name": "fid", "kind": "distance", "encoder": "e", "mpp": 1.0, "better": "lower", "ceilings": {"phase": 100.0}}
FLOOR = {"floor": 10.0, "floor_low": 8.0, "floor_high": 12.0}


def row(value, low=None, high=None, **more):
    return FID | FLOOR | {"value": value, "low": low, "high": high} | more


@pytest.mark.parametrize(
    "found,word,share",
    [
        (row(11.0, 9.0, 13.0), "within", 0),  # the intervals meet
        (row(30.0, 25.0, 35.0), "worse", 18 / 88),  # beyond, and nearer to real tissue than to noise
        (row(80.0, 70.0, 90.0), "worse", 68 / 88),
        (row(20.0, 5.0, 60.0), "unknown", 8 / 88),  # meets the floor, but half-way to the ceiling too
        (row(80.0, interval="no interval, 2 patients"), "worse", 68 / 88),  # so far that no interval is needed
        (row(20.0, interval="no interval, 2 patients"), "unknown", 8 / 88),
        (
            row(80.0, interval="no interval, 2 patients", patients=70.0),
            "unknown",
            10 / 30,
        ),  # patients differ by nearly that
        (row(None, note="too few patches"), "unknown", None),
        (row(80.0, 70.0, 90.0, floor=None), "unknown", None),
        (row(80.0, 70.0, 90.0, speaks=False), "unknown", None),
        (row(80.0, 70.0, 90.0, ceilings={"phase": 11.0}), "worse", None),  # a ceiling within the floor is no ceiling
        (row(80.0, ceilings={"phase": 11.0}), "unknown", None),
        (row(11.0, 9.0, 13.0, ceilings={"phase": 11.0}), "unknown", None),  # nor does it show that structure is seen
        (row(11.0, 9.0, 13.0, ceilings={}), "unknown", None),
        (row(11.0, 9.0, 13.0, ceilings={}, kind="pixels"), "unknown", None),
        (row(11.0, 9.0, 13.0, ceilings={}, kind="morphology"), "within", None),
        (row(11.0, 9.0, 13.0, kind="seams", p=0.3, floor_p=0.5), "within", None),
        (row(11.0, 9.0, 13.0, kind="seams", p=0.001, floor_p=0.5), "worse", None),
        (row(11.0, 9.0, 13.0, kind="seams", p=0.001, floor_p=0.002), "unknown", None),
        (row(30.0, 25.0, 35.0, patients=28.0, patients_high=40.0), "within", 0),  # patients differ by as much
    ],
)
def test_degree_of_a_number(found, word, share):
    got = degree(found)
    assert (got.word, got.share) == (word, share if share is None else pytest.approx(share))
    assert got.far == (word == "worse" and share is not None and share > 0.5)
    assert got.why


@pytest.mark.parametrize(
    "name,generated,patients,word",
    [
        ("nuclei_per_mm2", 900.0, 100.0, "worse"),  # under a quarter of 4,100
        ("nuclei_per_mm2", 1200.0, 100.0, "unknown"),
        ("nuclei_per_mm2", 900.0, 3300.0, "unknown"),  # patients differ by as much
        ("nuclei_per_mm2", 40000.0, 100.0, "unknown"),
        ("gland_area", 900.0, 100.0, "unknown"),
    ],
)
def test_of_a_pathologists_measures_only_missing_cells_need_no_interval(name, generated, patients, word):
    """One slide may have a third more cells than another: structureless noise is no measure of that."""
    found = cells(generated, name=name, low=None, high=None, patients=patients, mpp=1.0, ceilings={"phase": 600.0})
    assert degree(found).word == word


def test_more_is_better_is_the_same_upside_down():
    up = {"better": "higher", "ceilings": {"phase": 0.1}, "floor": 0.9, "floor_low": 0.85, "floor_high": 0.95}
    assert degree(row(0.88, 0.83, 0.93, **up)).word == "within"
    found = degree(row(0.3, 0.25, 0.35, **up))
    assert found.word == "worse" and found.far
    assert found.share == pytest.approx(0.55 / 0.75)
    assert degree(row(0.97, 0.96, 0.99, **up)).word == "within"  # better than real is not worse


# ------------------------------------------------------------------------------------------------- the first sentence

AUDIT = {"verdict": "clear", "sentence": "No copies.", "searched": 90, "of": 90, "note": "", "encoders": {}}
POWER = {"share": 0.01, "found": 0.98, "low": 0.93, "high": 1.0, "how": "planted"}


def write(run, rows=None, audit=None):
    if rows is not None:
        (run / "evaluation/metrics.json").write_text(json.dumps(rows))
    if audit is not None:
        (run / "evaluation/memorisation.json").write_text(json.dumps(audit))
    found = statements(gather(run))
    return bottom_line(found), found


def cells(generated, real=4100.0, **more):
    about = {"name": "nuclei_per_mm2", "kind": "morphology", "encoder": "nuclei", "unit": "per mm2", "better": "lower"}
    measured = {"real": real, "generated": generated, "value": abs(real - generated), "floor": 100.0, "floor_low": 50.0}
    gap = measured["value"]
    return (
        about
        | measured
        | {"floor_high": 150.0, "low": 0.9 * gap, "high": 1.1 * gap, "ceilings": {"phase": 4000}}
        | more
    )


def test_the_bottom_line_in_the_words_of_its_parts(made_up_run):
    near = [row(11.0, 9.0, 13.0, mpp=mpp) for mpp in (1.0, 0.5)]
    line, _ = write(made_up_run, [*near, cells(3.0, mpp=1.0), cells(3.0, mpp=0.5)], AUDIT | {"power": POWER})
    assert line.status == "bad"
    assert line.text.startswith("Does not look like tissue: ")
    assert "cells are missing at 1 and 0.5 mpp (nuclei 3 per mm2, real 4,100)" in line.text
    assert "no seams found" in line.text
    assert "no copies found, would have been found" in line.text
    assert "1 of 4 slides set aside" in line.text
    small = cells(20.0, real=40.0, name="nucleus_area", unit="um2", mpp=1.0, floor=1.0, floor_low=0.5, floor_high=1.5)
    line, _ = write(made_up_run, [*near, small | {"ceilings": {"phase": 30.0}}, cells(3.0, mpp=1.0)])
    assert line.text.startswith(
        "Does not look like tissue: cells are missing at 1 mpp (nuclei 3 per mm2, real 4,100); nuclei too"
    )
    line, _ = write(made_up_run, [*near, cells(2500.0, mpp=1.0)])
    assert line.status == "look" and "too few cells at 1 mpp" in line.text
    line, _ = write(made_up_run, [*near, cells(4050.0, mpp=1.0)])
    assert "cells as in real tissue" in line.text
    assert line.text.startswith("As close to real tissue as real tissue is to itself, by all that was measured")


@pytest.mark.parametrize(
    "value,low,high,start,status",
    [
        (95.0, 90.0, 99.0, "Does not look like tissue", "bad"),
        (30.0, 25.0, 35.0, "Can be told from tissue", "look"),
        (15.0, None, None, "Nothing found that tells it from tissue, but how surely is not known", "look"),
        (35.0, None, None, "Whether it looks like tissue is not sure", "look"),
        (None, None, None, "Whether it looks like tissue is not sure", "look"),
    ],
)
def test_the_headline_by_most_of_the_numbers(made_up_run, value, low, high, start, status):
    line, found = write(
        made_up_run, [row(value, low, high), row(value, low, high, name="kid"), row(9.0, 8, 10, name="cmmd")]
    )
    assert line.text.startswith(start)
    likeness = next(one for one in found if one.topic == "likeness")
    assert likeness.status == {"bad": "bad", "Can": "look"}.get(status, "look" if low else "open")


@pytest.mark.parametrize("other, start", [(11.0, "Can be told from tissue"), (95.0, "Does not look like tissue")])
def test_one_encoder_alone_does_not_say_that_it_is_no_tissue(made_up_run, other, start):
    """Five numbers of one that sees stains alone are far; it is no tissue where the other one says so too."""
    stains = [row(95.0, 90.0, 99.0, name=name) for name in ("fid", "kid", "cmmd", "precision", "recall")]
    seen = [row(other, other - 2, other + 2, name=name) | {"encoder": "another"} for name in ("fid", "kid", "cmmd")]
    line, _ = write(made_up_run, [*stains, *seen])
    assert line.text.startswith(start)


def test_numbers_that_are_not_sure_are_not_called_missing(made_up_run):
    near, wide = row(11.0, 9.0, 13.0, mpp=2.0), row(35.0, None, None, mpp=1.0)
    line, _ = write(made_up_run, [near, wide, row(None, mpp=0.5)])
    assert "not sure at 1 mpp; not measured at 0.5 mpp" in line.text


def test_a_classifier_alone_does_not_say_that_it_is_no_tissue(made_up_run):
    told = {"name": "c2st", "kind": "classifier", "encoder": "small-network", "value": 0.97, "low": 0.95, "high": 0.99}
    told |= {
        "mpp": 1.0,
        "better": "lower",
        "floor": 0.5,
        "floor_low": 0.45,
        "floor_high": 0.55,
        "ceilings": {"phase": 1.0},
    }
    near = [row(11.0, 9.0, 13.0, name=name) for name in ("fid", "kid", "cmmd")]
    line, found = write(made_up_run, [*near, told])
    assert line.text.startswith("As close to real tissue")
    (said,) = [one for one in found if one.text.startswith("Told apart")]
    assert said.status == "look"
    assert "right on 97 % of patches" in said.text and "two halves of real patches: 50 %" in said.text
    line, _ = write(made_up_run, [told])
    assert line.text.startswith("Can be told from tissue")


@pytest.mark.parametrize(
    "patients, value, apart", [(0.83, 0.60, False), (0.83, 0.99, True), (0.88, 0.95, False), (0.73, 0.89, False)]
)
def test_what_a_classifier_tells_far_better_than_patients_can_be_told(made_up_run, patients, value, apart):
    """The first two: a real slide of another patient, and its phase noise, as measured by EfficientNet's features."""
    told = {
        "name": "c2st",
        "kind": "classifier",
        "encoder": "efficientnet-lite0",
        "value": value,
        "mpp": 1.0,
        "better": "lower",
    }
    near = [row(11.0, 9.0, 13.0, name=name) for name in ("fid", "kid", "cmmd")]
    line, _ = write(made_up_run, [*near, told | {"floor": 0.5, "patients": patients}])
    said = "Can be told from tissue: a classifier tells it apart at 1 mpp (right on 99 %, real patients 83 %)"
    assert line.text.startswith(said if apart else "As close to real tissue")


def test_colours_by_their_stains(made_up_run):
    weak = cells(0.4, real=0.8, name="haematoxylin_amount", encoder="stain", unit="", mpp=1.0, floor=0.01)
    weak |= {"floor_low": 0.0, "floor_high": 0.02, "ceilings": {"phase": 0.01}}
    line, _ = write(made_up_run, [row(11.0, 9.0, 13.0), weak])
    assert "haematoxylin too weak at 1 mpp (haematoxylin 0.400, real 0.800)" in line.text
    same = weak | {"generated": 0.79, "value": 0.01, "low": 0.0, "high": 0.02}
    assert "colours right" in write(made_up_run, [row(11.0, 9.0, 13.0), same])[0].text


def test_an_encoder_that_sees_nothing_does_not_speak(made_up_run):
    line, _ = write(made_up_run, [row(11.0, 9.0, 13.0, speaks=False)])
    assert line.text.startswith("Whether it looks like tissue was not measured")


@pytest.mark.parametrize(
    "change,words",
    [
        ({}, "whether copies would have been found is not known"),
        ({"searched": 3}, "3 of 90 training patches were searched"),
        ({"power": POWER | {"found": 0.4}}, "1 in 100 copies would have been found with 40 % only"),
        ({"searched": None}, "how much was searched is not known"),
        ({"verdict": "not measured"}, "copying not measured"),
    ],
)
def test_too_little_searched_is_never_green(made_up_run, change, words):
    line, found = write(made_up_run, [row(11.0, 9.0, 13.0)], AUDIT | change)
    (said,) = [one for one in found if one.topic == "copies"]
    assert said.status == "open"
    assert words in line.text
    assert line.status != "good"


def test_copies_lead(made_up_run):
    audit = AUDIT | {"verdict": "copies", "sentence": "9 % are copies."}
    line, found = write(made_up_run, [row(11.0, 9.0, 13.0)], audit)
    assert found[0].topic == "copies" and found[0].status == "bad"
    assert line.status == "bad" and line.text.startswith("Copies its training patches")


def change_seams(run, **changes):
    path = run / "evaluation/synthetic_001/coherence.json"
    found = json.loads(path.read_text())
    for level in found["levels"]:
        level["seams"] |= changes
    path.write_text(json.dumps(found))


def seams(run):
    return next(one for one in statements(gather(run)) if one.topic == "seams")


def test_seams_both_ways_and_none_where_too_few_borders_tell(made_up_run):
    change_seams(made_up_run, low=0.96, score=1.0, high=1.04, kind="none")
    assert seams(made_up_run).status == "good"
    change_seams(made_up_run, low=0.4, score=1.0, high=2.2, kind="none")
    assert (seams(made_up_run).status, seams(made_up_run).clause) == ("open", "seams not measured")
    change_seams(made_up_run, low=0.5, score=0.6, high=0.7, kind="flat")
    assert (seams(made_up_run).status, seams(made_up_run).clause) == ("bad", "blurred seams")
    change_seams(made_up_run, low=1.4, score=1.6, high=1.8, kind="steep")
    assert (seams(made_up_run).status, seams(made_up_run).clause) == ("bad", "seams")


@pytest.mark.parametrize(
    "p,floor_p,clause", [(1e-4, 0.4, "tiles do not belong together"), (1e-4, 1e-4, ""), (0.2, 0.4, "")]
)
def test_seams_that_only_an_encoder_sees(made_up_run, p, floor_p, clause):
    change_seams(made_up_run, low=0.96, score=1.0, high=1.04, kind="none")
    rows = [{"name": "seam_mmd", "kind": "seams", "encoder": "e", "mpp": 1.0, "value": 3.0, "p": p, "floor_p": floor_p}]
    _, found = write(made_up_run, rows)
    assert ("tiles do not belong together" in [one.clause for one in found]) == bool(clause)


@pytest.mark.parametrize("p,more", [(0.004, {}), (1e-4, {"speaks": False})])
def test_of_many_tests_one_is_small_by_chance_and_a_silent_encoder_sees_no_seam(made_up_run, p, more):
    change_seams(made_up_run, low=0.96, score=1.0, high=1.04, kind="none")
    one = {"name": "seam_mmd", "kind": "seams", "encoder": "e", "mpp": 1.0, "value": 3.0, "floor_p": 0.4}
    _, found = write(made_up_run, [one | {"p": p} | more, one | {"p": 0.5}, one | {"p": 0.7}, one | {"p": 0.2}])
    assert "tiles do not belong together" not in [one.clause for one in found]


def test_one_flat_level_of_many_is_what_chance_gives(made_up_run):
    """Of 24 levels one in 40 lies below its interval by chance: 1 - 0.975^24 = 46 %; three of them: 2 %."""
    path = made_up_run / "evaluation/synthetic_001/coherence.json"
    coherence = json.loads(path.read_text())
    like = coherence["levels"][0]
    for flat, status in ((1, "good"), (3, "bad")):
        usual, blurred = {"low": 0.96, "score": 1.0, "high": 1.04}, {"low": 0.9, "score": 0.95, "high": 0.99}
        levels = [like | {"seams": like["seams"] | usual | {"kind": "none"}} for _ in range(24 - flat)]
        levels += [like | {"seams": like["seams"] | blurred | {"kind": "flat"}} for _ in range(flat)]
        path.write_text(json.dumps(coherence | {"levels": levels}))
        assert seams(made_up_run).status == status


@pytest.mark.parametrize("verdict,clause", [("suspect", "its losses tell what it learnt from"), ("clear", "")])
def test_what_its_losses_tell_reaches_the_first_line(made_up_run, verdict, clause):
    audit = AUDIT | {"power": POWER, "membership": {"verdict": verdict, "sentence": "AUC 0.7."}}
    line, found = write(made_up_run, [row(11.0, 9.0, 13.0)], audit)
    (said,) = [one for one in found if one.topic == "membership"]
    assert said.status == ("look" if clause else "good")
    assert (clause or "losses tell") in line.text or not clause


def test_what_the_slides_did_not_give_reaches_the_first_line(made_up_run):
    path = made_up_run / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(recipe | {"patches": {"main": {"mpps": [16, 8, 4, 2]}}}))
    line, found = write(made_up_run)
    assert "nothing was learnt at 2 mpp" in line.text and line.status == "bad"
    (said,) = [one for one in found if "2 mpp" in one.text]
    assert "3 of 3 slides gave none" in said.text
    path.write_text(yaml.safe_dump(recipe | {"patches": {"main": {"mpps": [16, 8, 4.1]}}}))  # within 3 %: the same
    assert "nothing was learnt" not in write(made_up_run)[0].text


def test_what_is_not_measured_is_not_good():
    good = Statement("good", "x", None, "seams", "no seams found")
    assert bottom_line([good]).status == "open"
    assert bottom_line([good, Statement("good", "y", None, "likeness", "", "within")]).status == "open"
    assert bottom_line([good, Statement("good", "z", None, "copies", "")]).status == "open"
    measured = [
        good,
        Statement("good", "y", None, "likeness", "", "within"),
        Statement("good", "z", None, "copies", ""),
    ]
    assert bottom_line(measured).status == "good"
    assert bottom_line([]).status == "open"


def test_the_page_on_the_report_states_the_rules(root):
    text = (root / "docs/report.md").read_text()
    limits = [
        f"{rules.FAR:g} of the way to the ceiling",
        f"less than {rules.NEAR:g} of the way",
        f"1/{1 / rules.LEAST_TISSUE:g} of the tissue share",
        f"1/{1 / rules.FLAT:g} of the\n   contrast",
        f"than {rules.COLOUR_APART:g} in CIELAB and than {rules.COLOUR_TIMES:g} times",
        f"from every real slide than {rules.COLOUR_NEVER:g} in CIELAB",
        f"more than {rules.HARSH:g} times",
        f"wholly above {rules.CLEAR_SEAM:g}",
        f"reaches {rules.WIDE_SEAM:g}",
        f"p < {rules.SEAM_P:g}",
        f"difference of {rules.CLOSE:g} of 255 grey steps; above {rules.DISTANT:g}",
        f"in {rules.POWER:g} of trials",
        f"right on {rules.TOLD:g} of the patches or more, and\non {rules.TOLD_BEYOND:g} more",
    ]
    assert [one for one in limits if one not in text] == []
    for headline in rules.HEADLINES.values():
        words = headline.partition(",")[0].partition(":")[0]
        assert words in text.replace("\n", " ") or words in ("No synthetic slide was drawn", rules.HEADLINES["unknown"])
