"""Steps of slides that are not planned again change nothing: with them and without, a dry run names the same jobs.

The lab (lab.py) has two slides in its table, of four steps each, and with FEW = 0 they are settled like thousands.
"""

import base64
import json
import os

import pytest

from .lab import Lab, touch
from .test_reruns import (
    OUTLINE,
    another_slide,
    append,
    both,
    deleted,
    module,
    new_bytes,
    recipe,
    replace,
    source,
    table,
)

pytestmark = pytest.mark.workflow
ALL = 8  # steps of the table's slides


@pytest.fixture(scope="session")
def settled_lab(finished_lab, tmp_path_factory):
    """The finished lab after another start, which had nothing to do."""
    lab = finished_lab.copy(tmp_path_factory.mktemp("labs") / "settled")
    lab.edit("code/rules/settled.smk", replace("FEW = 500", "FEW = 0"))
    lab.make()
    return lab


@pytest.fixture
def settled(settled_lab, tmp_path):
    return settled_lab.copy(tmp_path / "copy")


def plan(lab: Lab, *arguments: str) -> tuple[set[str], int, int]:
    """The jobs that a dry run names, how many there are in all, and how many of these were settled."""
    out = lab.folder / "plan.json"
    done = lab.run.run(lab.project / "recipe.yaml", "-n", *arguments, **lab.environment, HISTOGENESIS_PLAN=str(out))
    planned = json.loads(out.read_text())
    named = {" ".join([job["rule"], *job["wildcards"].values()]) for job in planned["jobs"]}
    assert lab.run.count(done.stdout).keys() == {name.split()[0] for name in named}, "as Snakemake's own table has it"
    return named, planned["total"], planned["settled"]


def forget(lab: Lab) -> None:
    (lab.results / "state/settled.json").unlink()


def touched(name: str):
    return lambda lab: os.utime(lab.project / name)


def noted(folder: str, name: str):
    """Where Snakemake keeps what it notes of a file."""
    return f".snakemake/{folder}/{base64.urlsafe_b64encode(name.encode()).decode()}"


def other_note(lab: Lab) -> None:
    """Snakemake's own note of a file says that it was made of other content of the slide."""
    lab.edit(f"project/{noted('metadata', MASK)}", lambda text: text.replace("content:slide/b@", "content:slide/b@1"))


def half_written(lab: Lab) -> None:
    path = lab.project / noted("incomplete", "results/lab/tissue/a/mask.png")
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"external_jobid": null}')


def memory(change):
    def changed(lab):
        path = lab.results / "state/settled.json"
        path.write_text(change(path.read_text()))

    return changed


def other_digests(text: str) -> str:
    found = json.loads(text)
    return json.dumps(found | {"settled": dict.fromkeys(found["settled"], "0123456789abcdef")})


MASK, RECORD, FINE = "results/lab/tissue/b/mask.png", "results/lab/slides/b.json", "results/lab/patches/fine/b.h5"
# What happens, to one slide and to the other -> how many steps are settled all the same, and jobs that must run.
CHANGES = {
    "an output touched, a benchmark gone, slides touched, the cache of their digests gone": (
        both(
            touched(MASK),
            deleted("results/lab/benchmarks/segment_tissue/a.tsv", ".histogenesis"),
            lambda lab: touch(lab.slides),
        ),
        2,
        [],
    ),
    "Snakemake's note edited by hand, and half written when it was stopped": (
        both(other_note, half_written),
        2,
        ["segment_tissue a", "segment_tissue b"],
    ),
    "a record edited by hand, an output deleted": (
        both(lambda lab: lab.edit(f"project/{RECORD}", append("")), deleted("results/lab/tissue/a/mask.png")),
        1,
        ["register_slide b", "segment_tissue a"],
    ),
    "a param": (recipe("tissue.min_area_mm2", 0.01), 2, ["segment_tissue a", "segment_tissue b"]),
    "patches of one set, of which a file is deleted, and another model": (
        both(deleted(FINE), recipe("patches.fine.per_slide", 18), recipe("models.coarse.training.lr", 2e-3)),
        6,
        ["cut_patches fine a", "cut_patches fine b", "train_model coarse"],
    ),
    "a slide's bytes, an outline edited, a slide added": (
        both(new_bytes("b.tif"), lambda lab: lab.edit(OUTLINE, replace("540", "500")), another_slide),
        1,
        ["register_slide b", "segment_tissue a", "cut_patches coarse d"],
    ),
    "a slide removed, patches deleted": (
        both(table("b\tb.tif\tnguyen\ttumour\t\n", ""), deleted("results/lab/patches")),
        2,
        ["split_patients", "cut_patches fine a"],
    ),
    "code": (module("tissue/fesi.py"), 2, ["segment_tissue a", "segment_tissue b"]),
    "a rule's text": (source("rules/tissue.smk"), 0, []),
    "Snakemake's notes gone": (deleted(".snakemake"), 0, []),
    "what is remembered cut off": (memory(lambda text: text[:100]), 0, []),
    "what is remembered of other states": (memory(other_digests), 0, []),
}
# Words for Snakemake with which every step is asked.
WORDS = {
    "-R segment_tissue": ["segment_tissue a", "segment_tissue b"],
    "--forceall": ["register_slide a", "cut_patches fine b"],
    f"--forcerun {MASK}": ["segment_tissue b"],
    "--until segment_tissue": [],
    "--omit-from train_model": [],
    "--rerun-triggers mtime": [],
    "--rerun-triggers software-env params": [],
    "--config accept_missing=true": [],
    f"-- {MASK}": [],
}


def same_with_and_without(lab: Lab, *arguments: str) -> tuple[set[str], int]:
    named, total, settled = plan(lab, *arguments)
    forget(lab)
    assert plan(lab, *arguments) == (named, total, 0)
    return named, settled


def test_what_is_settled_is_not_planned_and_a_dry_run_notes_nothing(settled):
    assert len(json.loads((settled.results / "state/settled.json").read_text())["settled"]) == ALL
    assert same_with_and_without(settled, "--", "all", "models") == (set(), ALL)
    assert not (settled.results / "state/settled.json").exists()


@pytest.mark.long
@pytest.mark.parametrize("name", CHANGES)
def test_the_same_jobs_run_with_and_without(name, settled):
    change, count, must_run = CHANGES[name]
    change(settled)
    named, found = same_with_and_without(settled)
    assert found == count and named.issuperset(must_run) and (must_run or not named)


@pytest.mark.long
@pytest.mark.parametrize("words", WORDS)
def test_each_step_is_asked_where_more_is_asked_for(words, settled):
    named, _, found = plan(settled, *words.split())
    assert found == 0 and named.issuperset(WORDS[words]) and (WORDS[words] or not named)


@pytest.mark.long
def test_what_ran_is_settled_when_all_has_ended_well_and_what_it_was_before_is_not(settled):
    """Other code makes the same bytes, which get their old times back: only Snakemake's note says that it ran."""
    script = settled.code / "workflow/scripts/segment_tissue.py"
    before = script.read_text()
    source("workflow/scripts/segment_tissue.py")(settled)
    settled.make()
    kept = (settled.results / "state/settled.json").read_bytes()
    assert same_with_and_without(settled) == (set(), ALL)
    (settled.results / "state/settled.json").write_bytes(kept)
    script.write_text(before)
    named, found = same_with_and_without(settled)
    assert "segment_tissue b" in named and found == 2


@pytest.mark.long
def test_what_a_failed_step_has_deleted_is_planned(settled):
    module("patches/place.py", lambda text: f"{text}\nraise RuntimeError('this version is broken')\n")(settled)
    done = settled.run.run(settled.project / "recipe.yaml", "--keep-going", check=False, **settled.environment)
    assert done.returncode == 1
    source("src/histogenesis/patches/place.py", lambda text: text.rsplit("\nraise", 1)[0] + "\n")(settled)
    named, found = same_with_and_without(settled)
    assert {"cut_patches fine b", "train_model fine"} <= named and found == 4
