"""What proves a run's files whole: marks, what is compared with them when, and what is done with damage."""

import json
import os
import shutil

import pytest

from histogenesis.core.errors import BadInput
from histogenesis.core.whole import DAMAGED, Damaged, copy_path, found_damaged, load_json, mark_path, read_mark
from histogenesis.provenance import whole

FILES = {
    "a/plan.json": '{"mpp": 4}',
    "a/plan.png": "png",
    "b.tsv": "x\ty\n",
    "folder/one.h5": "1" * 99,
    "folder/two.png": "two",
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of three jobs, one of which has a folder as its output."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/r"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run = folder.relative_to(tmp_path)
    whole.vouch(run, "plan", {"slide": "s"}, [f"{run}/a/plan.json", f"{run}/a/plan.png"])
    whole.vouch(run, "split", {}, [f"{run}/b.tsv"])
    whole.vouch(run, "extract", {"encoder": "e"}, [f"{run}/folder"])
    return run


def flip(path):
    octets, stat = bytearray(path.read_bytes()), os.stat(path)
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a disk does it


KINDS = {
    "flip": (flip, "other bytes than were written"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "cut off"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "too long"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_damage_is_one_line_and_the_file_is_missing_so_that_its_rule_runs(kind, name, run):
    damage, words = KINDS[kind]
    damage(run / name)
    damaged = (run / name).read_bytes()
    (line,) = whole.heal(run)
    assert line.startswith(f"{run / name}: damaged: {words}") and "\n" not in line and "Written 20" in line
    output = "folder" if name.startswith("folder") else name
    assert not (run / output).exists() and (run / DAMAGED / name).read_bytes() == damaged
    others = [other for other in FILES if other != name and not other.startswith(output)]
    assert all((run / other).read_text() == FILES[other] for other in others)
    assert list(whole.to_be_healed(run)) == [f"{run}/{output}"]
    assert whole.heal(run) == []


def test_of_more_marks_than_are_looked_at_together_each_is(run, monkeypatch):
    monkeypatch.setattr(whole, "AT_ONCE", 2)
    for name in ("a/plan.json", "a/plan.png", "b.tsv"):
        flip(run / name)
    assert len(whole.damage_in(run)) == len(whole.heal(run)) == 3


def test_what_is_touched_or_copied_is_whole(run, tmp_path):
    for path in run.rglob("*"):
        os.utime(path)
    assert whole.heal(run) == []
    shutil.copytree(run, tmp_path / "other/results/r")
    assert whole.heal(tmp_path / "other/results/r") == []


def test_a_file_of_a_user_is_never_touched(run):
    (run / "mine.json").write_text("{")
    with pytest.raises(BadInput, match=r"mine\.json: damaged: it is no JSON; bring it again"):
        found_damaged(run / "mine.json", "it is no JSON")
    assert (run / "mine.json").read_text() == "{" and whole.heal(run) == []


def test_a_reader_that_finds_damage_sets_the_file_aside(run):
    with pytest.raises(
        BadInput, match=r"plan\.json: damaged: no JSON\. Written .* by plan s; .* made again by the next start"
    ):
        found_damaged(run / "a/plan.json", "no JSON")
    assert not (run / "a/plan.json").exists() and (run / "a/plan.png").exists()


def test_before_a_job_reads_its_inputs_are_compared_and_folders_file_by_file(run):
    assert whole.damage_to(run, [f"{run}/{name}" for name in ("a/plan.json", "folder")]) == []
    flip(run / "folder/two.png")
    flip(run / "b.tsv")
    (line,) = whole.damage_to(run, [f"{run}/a/plan.json", f"{run}/folder"])
    assert "two.png" in line and (run / "b.tsv").exists()


def test_large_files_with_checksums_of_their_own_are_read_once_and_no_second_time(run, monkeypatch):
    flip(run / "folder/one.h5")
    monkeypatch.setattr(whole, "SMALL", 10)
    assert whole.damage_in(run) == [] and whole.damage_to(run, [f"{run}/folder"]) == []
    assert [str(file) for file, _, _ in whole.damage_in(run, deep=True)] == [f"{run}/folder/one.h5"]


def test_a_job_that_begins_takes_its_marks_back(run):
    whole.take_back(run, [f"{run}/folder", f"{run}/b.tsv"])
    (run / "b.tsv").write_text("half")
    flip(run / "folder/two.png")
    assert whole.heal(run) == [] and read_mark(run, run / "a/plan.json")


def test_what_comes_out_the_same_has_its_time_back_and_what_differs_a_new_one(run):
    old = os.stat(run / "b.tsv").st_mtime_ns - 10**10
    os.utime(run / "b.tsv", ns=(old, old))
    whole.take_back(run, [f"{run}/b.tsv"])
    whole.vouch(run, "split", {}, [f"{run}/b.tsv"])
    for text, same in ((FILES["b.tsv"], True), ("other", False)):
        (run / "b.tsv").write_text("damage of any kind")
        assert len(whole.heal(run)) == 1
        (run / "b.tsv").write_text(text)
        whole.vouch(run, "split", {}, [f"{run}/b.tsv"])
        assert (os.stat(run / "b.tsv").st_mtime_ns == old) is same and whole.to_be_healed(run) == {}


def test_a_job_that_mends_one_of_its_files_gives_all_that_are_the_same_their_times_back(run):
    old = {name: os.stat(run / name).st_mtime_ns for name in FILES}
    flip(run / "a/plan.png")
    flip(run / "folder/one.h5")
    whole.heal(run)
    whole.take_back(run, [f"{run}/a/plan.json", f"{run}/a/plan.png"])
    whole.take_back(run, [f"{run}/folder"])
    for name, text in FILES.items():
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(text)
    whole.vouch(run, "plan", {"slide": "s"}, [f"{run}/a/plan.json", f"{run}/a/plan.png"])
    whole.vouch(run, "extract", {"encoder": "e"}, [f"{run}/folder"])
    assert all(os.stat(run / name).st_mtime_ns == old[name] for name in FILES if name != "b.tsv")
    assert whole.heal(run) == [] and not list((run / DAMAGED).rglob("*.json.json"))


def test_a_time_older_than_the_inputs_is_not_given_back(run):
    flip(run / "b.tsv")
    whole.heal(run)
    (run / "b.tsv").write_text(FILES["b.tsv"])
    (run / "new").write_text("an input that has changed")
    whole.vouch(run, "split", {}, [f"{run}/b.tsv"], [f"{run}/new"])
    assert os.stat(run / "b.tsv").st_mtime_ns >= os.stat(run / "b.tsv").st_ctime_ns - 10**9
    assert read_mark(run, run / "b.tsv")["mtime_ns"] == os.stat(run / "b.tsv").st_mtime_ns


@pytest.mark.parametrize("rot", [lambda mark: mark.write_text("{"), lambda mark: mark.unlink()])
@pytest.mark.parametrize("of", [mark_path, copy_path])
def test_a_file_that_rots_with_one_of_its_marks_is_made_again(of, rot, run):
    """An older copy of a file, whose mark had been emptied, was used as it was found: other bytes, and exit 0."""
    before = read_mark(run, run / "b.tsv")
    rot(of(run, run / "b.tsv"))
    assert read_mark(run, run / "b.tsv") == before
    (run / "b.tsv").write_text("y\tx\n")
    line = whole.heal(run)[-1]
    assert f"{run}/b.tsv: damaged: other bytes" in line and list(whole.to_be_healed(run)) == [f"{run}/b.tsv"]
    assert whole.heal(run) == [], "said once"


def test_a_mark_that_is_swapped_for_anothers_proves_nothing(run):
    """A file had been set aside by another's mark, and the other's rule run in place of its own."""
    one, two = (mark_path(run, run / name) for name in ("b.tsv", "a/plan.json"))
    before = one.read_bytes(), two.read_bytes()
    one.write_bytes(before[1]), two.write_bytes(before[0])
    assert read_mark(run, run / "b.tsv")["rule"] == "split"
    assert len(whole.heal(run)) == 2 and (one.read_bytes(), two.read_bytes()) == before
    assert (run / "b.tsv").exists() and whole.to_be_healed(run) == {}


def test_a_mark_that_rots_is_written_anew_from_its_copy_and_a_copy_that_is_lost_from_its_mark(run):
    mark, copy = mark_path(run, run / "b.tsv"), copy_path(run, run / "b.tsv")
    before = mark.read_bytes()
    mark.write_bytes(b"")
    (line,) = whole.heal(run)
    assert "b.tsv" in line and "from its copy" in line and mark.read_bytes() == before
    copy.unlink()
    assert whole.heal(run) == [] and copy.read_bytes() == before


def rot_both(run, path):
    for of in (mark_path, copy_path):
        of(run, path).write_text("{")


def test_a_mark_that_rots_with_its_copy_is_said_and_proves_nothing(run):
    for of in (mark_path, copy_path):
        mark = of(run, run / "b.tsv")
        mark.write_text(mark.read_text().replace('"size": 4', '"size": 5'))
    (line,) = whole.heal(run)
    assert "b.tsv" in line and "unproven" in line and (run / "b.tsv").exists()
    assert whole.heal(run) == [], "said once"


@pytest.mark.parametrize(
    "name, output", [("b.tsv", "b.tsv"), ("a/plan.json", "a/plan.json"), ("folder/two.png", "folder")]
)
def test_a_file_that_rots_with_its_mark_is_made_again_when_a_reader_finds_it_damaged(run, name, output):
    """It was left for its user to delete, since nothing said that the run had made it."""
    rot_both(run, run / name)
    (run / name).write_text("{ no JSON")
    whole.heal(run)
    with pytest.raises(Damaged, match="is made again by the next start"):
        load_json(run / name)
    assert not (run / output).exists() and list(whole.to_be_healed(run)) == [f"{run}/{output}"]


def test_what_lies_beside_an_output_is_nobodys_target_when_its_mark_rots(run):
    coords = run / "patches/main/coords/20x/patches/a.h5"
    coords.parent.mkdir(parents=True)
    coords.write_text("coords")
    (run / "patches/main/a.h5").write_text("patches")
    whole.vouch(run, "cut_patches", {"patch_set": "main", "slide": "a"}, [f"{run}/patches/main/a.h5"])
    rot_both(run, coords)
    whole.heal(run)
    flip(coords)
    assert whole.heal(run) == [] and whole.to_be_healed(run) == {} and coords.exists()


def test_a_phantom_goes_with_its_mark(run):
    """Two were swapped and one mark was cut off: used unproven, it was taken for the other, and the run was stuck."""
    phantom = run / "phantoms/a.tif"
    phantom.parent.mkdir()
    phantom.write_text("another's")
    whole.vouch(run, "make_phantom", {"slide": "a"}, [str(phantom)])
    rot_both(run, phantom)
    (line,) = whole.heal(run)
    assert "a.tif" in line and "made again" in line and not phantom.exists()


def test_a_deep_check_goes_on_where_it_was(run, monkeypatch):
    asked = []
    look = whole.what_is_wrong
    monkeypatch.setattr(whole, "what_is_wrong", lambda *a, **k: ((k or asked.append(a[0])) and None) or look(*a, **k))
    looked = whole.Looked(run)
    whole.damage_in(run, True, looked.known, looked.note)
    assert len(asked) == len(FILES)
    (looked.path).write_text(looked.path.read_text() + '["cut o')
    again = whole.Looked(run)
    flip(run / "a/plan.json")
    (run / "b.tsv").write_text("x\tz\n")
    found = whole.damage_in(run, True, again.known, again.note)
    assert len(asked) == len(FILES) + 1 and [str(file) for file, _, _ in found] == [f"{run}/b.tsv"]
    assert len(whole.damage_in(run, True, whole.Looked(run, anew=True).known)) == 2


def test_what_depends_on_a_file_is_told_from_snakemakes_notes(run, tmp_path):
    import base64

    notes = {"b.tsv": [], "c.h5": ["b.tsv"], "d.tif": ["c.h5", "a/plan.json"], "e": []}
    for name, inputs in notes.items():
        path = tmp_path / ".snakemake/metadata" / base64.urlsafe_b64encode(f"results/r/{name}".encode()).decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"input": [f"results/r/{one}" for one in inputs]}))
    assert whole.depends_on(tmp_path, run, [run / "b.tsv"]) == {
        "results/r/b.tsv": ["results/r/c.h5", "results/r/d.tif"]
    }


def test_json_that_is_none_is_damage_of_a_run_and_named_elsewhere(run, tmp_path):
    assert load_json(run / "a/plan.json") == {"mpp": 4}
    (run / "a/plan.json").write_bytes(b'{"mpp": \xff')
    with pytest.raises(BadInput, match=r"plan\.json: damaged: it is no JSON\. Written"):
        load_json(run / "a/plan.json")
    (tmp_path / "theirs.json").write_text("")
    with pytest.raises(BadInput, match=r"theirs\.json: damaged: it is no JSON; bring it again"):
        load_json(tmp_path / "theirs.json")
