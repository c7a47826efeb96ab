"""Who is held out."""

import json
import subprocess
import sys

import numpy as np
import pytest

from histogenesis.core.errors import BadInput
from histogenesis.patches.splits import check_copies, cut_at, read_splits, split_slides, write_splits
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


def test_a_region_is_cut_at_a_share_of_the_tissue():
    """Tissue in the left third: its last quarter is held out, wherever the slide ends."""
    mask = np.zeros((40, 120), bool)
    mask[10:30, 0:40] = True
    assert cut_at(mask, 0.25) == ("x", pytest.approx(30 / 120))
    (train, held_out) = split_slides(rows("A")[:1], Split(by="region", validation=0.25), masks={"A1": mask})
    assert (train["x_to"], held_out["x_from"], held_out["x_to"]) == (0.25, 0.25, 1.0)


def test_the_side_serves_along_which_the_held_out_part_is_longer():
    mask = np.zeros((300, 100), bool)
    mask[20:260, 45:55] = True  # a core biopsy: 10 px wide, 240 px high
    side, border = cut_at(mask, 0.2)
    assert (side, border) == ("y", pytest.approx((20 + 192) / 300, abs=1e-6))
    assert cut_at(np.zeros((3, 4), bool), 0.5) == ("x", 0.5)


def records(**digests):
    return {name: {"sha256": digest, "fingerprint": None} for name, digest in digests.items()}


def test_a_copy_across_patients_or_splits_is_refused_by_name():
    slides = [SlideRow(slide=s, path=f"{s}.svs", patient=p, split=split) for s, p, split in
              (("a", "P", "train"), ("b", "Q", "validation"), ("c", "R", "train"))]  # fmt: skip
    entries = split_slides(slides, Split())
    assert check_copies(slides, entries, records(a="1", b="2", c="3")) == []
    with pytest.raises(
        BadInput, match=r"'a' and 'b' are the same file .* patients P and Q and splits train and validation"
    ):
        check_copies(slides, entries, records(a="1", b="1", c="3"))
    with pytest.raises(BadInput, match=r"'a' and 'c' are the same file .* patients P and R"):
        check_copies(slides, entries, records(a="1", b="2", c="1"))
    same = rows("A", "B")
    found = check_copies(same, split_slides(same, Split()), records(A1="1", A2="1", B1="2", B2="3"))
    assert len(found) == 1 and "'A1' and 'A2' are the same file" in found[0] and "count twice" in found[0]


def test_a_slide_that_was_saved_again_is_known_by_its_picture(cmu_slide, tmp_path):
    import io

    from PIL import Image

    from histogenesis.slides.fingerprint import fingerprint
    from histogenesis.slides.read import open_slide

    with open_slide(cmu_slide) as slide:
        picture = slide.overview(8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=50)
    again = np.asarray(Image.open(file))
    size = {"width_px": 2220, "height_px": 2967}
    told = {"A1": {"sha256": "1", "fingerprint": fingerprint(picture), **size}}
    told |= {"B1": {"sha256": "2", "fingerprint": fingerprint(again), **size}}
    told |= {"B2": {"sha256": "3", "fingerprint": fingerprint(picture[::-1]), **size}}
    slides = rows("A", "B")
    with pytest.raises(BadInput, match=r"'A1' and 'B1' are the same picture") as caught:
        check_copies(slides, split_slides(slides, Split()), told)
    assert "B2" not in str(caught.value)


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
