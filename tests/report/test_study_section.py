"""The study's section says in a line what its arms differ in besides what they are named after."""

from histogenesis.report.blocks import Prose
from histogenesis.report.build import studies
from histogenesis.report.found import Run

ROW = {
    "samples": "main",
    "combination": "way-a",
    "class": "all",
    "metric": "kid",
    "encoder": "he-network",
    "value": 1.0,
}
ROW |= {"low": 0.5, "high": 1.5, "seeds": 2, "floor": 0.1, "better": "lower", "best": True, "apart_from_best": None}


def said(tmp_path, arms):
    section = studies.study(Run(tmp_path, study=[ROW], arms=arms))
    return [block.text for block in section.blocks if isinstance(block, Prose)]


def arm(one, other, *besides, axis="way"):
    return {"axis": axis, "samples": "main", "options": [one, other], "named": ["sampler"], "besides": [*besides]}


def test_pairs_with_the_same_differences_are_said_once(tmp_path):
    arms = [arm("a", "b"), arm("a", "c", "model.network", "model.lr"), arm("b", "c", "model.network", "model.lr")]
    arms += [arm("d", "e", "compare.size_px", axis="size")]
    assert said(tmp_path, arms) == [
        "Arms differ besides in: way of main, a and c (and 1 pair more): model.network, model.lr; size of main, d and e:"
        " compare.size_px. All pairs: study/arms.json."
    ]


def test_that_there_is_nothing_besides_is_said_too(tmp_path):
    assert said(tmp_path, [arm("a", "b")]) == ["Arms that differ in one axis differ in nothing besides what it names."]
    assert said(tmp_path, []) == []  # of a run of before
