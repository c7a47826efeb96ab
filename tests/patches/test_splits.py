"""Who is held out."""

import json
import subprocess
import sys

import pytest

from histogenesis.core.errors import BadInput
from histogenesis.patches.splits import read_splits, split_slides, write_splits
from histogenesis.recipe import Split
from histogenesis.slides.table import SlideRow


def rows(*patients, **splits):
    """Two slides of each patient."""
    return [
        SlideRow(slide=f"{name}{k}", path=f"{name}{k}.svs", patient=name, split=splits.get(name))
        for name in patients
        for k in (1, 2)
    ]


def by_patient(entries):
    found = {}
    for item in entries:
        found.setdefault(item["patient"], set()).add(item["split"])
    return found


TEN = "ABCDEFGHIJ"


@pytest.mark.parametrize("seed", range(5))
def test_patients_are_whole(seed):
    entries = split_slides(rows(*TEN), Split(validation=0.3, seed=seed))
    found = by_patient(entries)
    assert all(len(splits) == 1 for splits in found.values())
    assert sorted(next(iter(splits)) for splits in found.values()) == ["train"] * 7 + ["validation"] * 3
    assert all((item["x_from"], item["x_to"]) == (0.0, 1.0) for item in entries)
    assert len(entries) == 20


def test_order_does_not_matter_and_the_seed_does():
    first = split_slides(rows(*TEN), Split())
    assert by_patient(first) == by_patient(split_slides(rows(*TEN[::-1]), Split()))
    assert any(by_patient(first) != by_patient(split_slides(rows(*TEN), Split(seed=seed))) for seed in (2, 3, 4))


def test_the_table_wins():
    entries = split_slides(rows(*TEN, A="train", B="test", C="validation"), Split(validation=0.2))
    found = by_patient(entries)
    assert (found["A"], found["B"], found["C"]) == ({"train"}, {"test"}, {"validation"})
    assert sum(splits == {"validation"} for splits in found.values()) == 2  # C, and one more of ten
    only_named = split_slides(rows("A", "B", A="train", B="validation"), Split(validation=0.9))
    assert by_patient(only_named) == {"A": {"train"}, "B": {"validation"}}


@pytest.mark.parametrize("validation, held_out", [(0.01, 1), (0.99, 1), (0.0, 0)])
def test_two_patients(validation, held_out):
    """One trains and one is held out, however small or large the fraction; none is if it is 0."""
    found = by_patient(split_slides(rows("A", "B"), Split(validation=validation)))
    assert sum(splits == {"validation"} for splits in found.values()) == held_out


@pytest.mark.parametrize(
    "slides", [rows("A"), rows("A", "B", A="train", B="train"), rows("A", "B", A="test", B="test")]
)
def test_what_cannot_be_split(slides):
    with pytest.raises(BadInput, match="by: region"):
        split_slides(slides, Split())


def test_region():
    """The left part trains, the right part is held out, of every slide; a slide that the table names is whole."""
    entries = split_slides(rows("A"), Split(by="region", validation=0.25))
    assert [(item["slide"], item["split"], item["x_from"], item["x_to"]) for item in entries] == [
        ("A1", "train", 0.0, 0.75),
        ("A1", "validation", 0.75, 1.0),
        ("A2", "train", 0.0, 0.75),
        ("A2", "validation", 0.75, 1.0),
    ]
    assert by_patient(split_slides(rows("A", A="test"), Split(by="region"))) == {"A": {"test"}}


def test_slides_set_aside_are_left_out():
    entries = split_slides(rows("A", "B", "C"), Split(), set_aside={"A1", "A2", "B1"})
    assert sorted(item["slide"] for item in entries) == ["B2", "C1", "C2"]
    with pytest.raises(BadInput, match="all were set aside"):
        split_slides(rows("A"), Split(), set_aside={"A1", "A2"})


def test_file_round_trip(tmp_path):
    entries = split_slides(rows("A"), Split(by="region"))
    write_splits(tmp_path / "splits.tsv", entries)
    assert read_splits(tmp_path / "splits.tsv") == entries
    (tmp_path / "splits.tsv").write_text("slide\tsplit\nA1\ttrain\n")
    with pytest.raises(BadInput, match="no split table"):
        read_splits(tmp_path / "splits.tsv")


def test_script(tmp_path, root):
    """From a table, phantoms and records, one of which is set aside."""
    (tmp_path / "slides.tsv").write_text("slide\tpath\tpatient\na\ta.svs\tP\nb\tb.svs\tQ\n")
    (tmp_path / "records").mkdir()
    for name, error in (("a", None), ("b", "b.svs: empty"), ("made_up", None)):
        (tmp_path / "records" / f"{name}.json").write_text(json.dumps({"slide": name, "error": error}))
    command = [
        sys.executable,
        str(root / "workflow/scripts/split_patients.py"),
        "--table",
        str(tmp_path / "slides.tsv"),
    ]
    command += ["--phantoms", '[{"name":"made_up"}]', "--records", str(tmp_path / "records"), "--run", "r"]
    done = subprocess.run([*command, "--out", str(tmp_path / "s.tsv")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {item["slide"]: item["patient"] for item in read_splits(tmp_path / "s.tsv")} == {
        "a": "P",
        "made_up": "made_up",
    }
    (tmp_path / "records" / "a.json").write_text(json.dumps({"slide": "a", "error": "a.svs: empty"}))
    done = subprocess.run([*command, "--out", str(tmp_path / "s.tsv")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr
