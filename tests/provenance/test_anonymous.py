"""What is planted of patients, classes and files in every place of a crate leaves it under other words, or not at all."""

import json

import pytest
import yaml

from histogenesis.core.errors import BadInput
from histogenesis.provenance.anonymous import check_names_nobody_of, make_anonymous
from histogenesis.provenance.contents import Contents
from histogenesis.recipe.identity import identity

TABLE = (
    "# of Dr Meier's archive\n"
    "slide\tpath\tpatient\tlabel\tsplit\ttissue\n"
    "a\t1957/Meier_Hans.svs\tMeier-1957\tmelanoma\ttrain\toutlines/Meier.geojson\n"
    "b\tHuber.tif\tHuber-1961\tnaevus\t\t\n"
    "c\tc.svs\t\t\t\t\n"
)
SECRETS = ["Meier", "Huber", "1957", "1961", "melanoma", "naevus", "/data/archive", "kept/elsewhere"]
ROWS = [["a", "Meier-1957", "train"], ["b", "Huber-1961", None], ["c", "c", None], ["p", "q", None]]


@pytest.fixture
def contents(tmp_path):
    """A crate's contents as `share` collects them, with each secret where a run really puts it."""
    recipe = {
        "slides": {"table": "slides.tsv", "root": "/data/archive", "phantoms": [{"name": "p", "patient": "q"}]},
        "patches": {"main": {"size_px": 8}, "folder": {"kind": "folder", "path": "kept/elsewhere/labels.csv"}},
        "models": {
            "m": {"patches": "main", "training": {"start": "kept/elsewhere/model"}, "network": {}, "objective": {}},
            "taken": {"path": "results/other/models/m"},
        },
        "evaluation": {"encoders": ["learned", {"name": "uni", "file": "/data/archive/uni.pt"}]},
    }
    note = {
        "params": [repr(identity("rows", ROWS)), "'--label melanoma'", "'--seed 1'"],
        "shellcmd": "cut --label melanoma --edited outlines/Meier.geojson",
        "input": ["1957/Meier_Hans.svs"],
    }
    record = {"slide": "a", "path": "1957/Meier_Hans.svs", "error": "1957/Meier_Hans.svs: Meier_Hans.svs is cut off"}
    files = {
        "slides.tsv": TABLE,
        "results/r/splits.tsv": "slide\tpatient\tsplit\na\tMeier-1957\ttrain\nb\tHuber-1961\tvalidation\nc\tc\ttrain\n",
        "results/r/slides/a.json": json.dumps(record),
        "results/r/recipe.yaml": yaml.safe_dump(recipe),
        ".snakemake/metadata/abc": json.dumps(note),
    }
    found = Contents()
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        found.add(name, tmp_path / name, 0)
    return found


def texts(contents):
    return {n: c.decode() if isinstance(c, bytes) else c.read_text() for n, c in contents.files.items()}


def test_no_secret_is_left_in_any_place(contents, tmp_path):
    before = texts(contents)
    assert all(any(secret in text for text in before.values()) for secret in SECRETS), "each is planted"
    make_anonymous(contents, tmp_path, "r", "slides.tsv")
    after = texts(contents)
    assert [(name, secret) for name, text in after.items() for secret in SECRETS if secret in text] == []
    assert set(texts(contents)) == set(before) and (tmp_path / "slides.tsv").read_text() == TABLE, (
        "files here stay as they are"
    )


def test_what_belongs_together_still_does(contents, tmp_path):
    make_anonymous(contents, tmp_path, "r", "slides.tsv")
    after = texts(contents)
    rows = [line.split("\t") for line in after["slides.tsv"].splitlines()]
    table = {row[0]: dict(zip(rows[0], row)) for row in rows[1:]}
    splits = dict(line.split("\t")[:2] for line in after["results/r/splits.tsv"].splitlines()[1:])
    assert {name: row["patient"] or name for name, row in table.items()} == splits
    assert json.loads(after["results/r/slides/a.json"])["path"] == table["a"]["path"] == "away/a.svs"
    assert yaml.safe_load(after["results/r/recipe.yaml"])["models"]["taken"] == {"path": "results/other/models/m"}


def test_snakemakes_notes_say_what_it_works_out_of_the_new_table(contents, tmp_path):
    words = make_anonymous(contents, tmp_path, "r", "slides.tsv")
    note = json.loads(texts(contents)[".snakemake/metadata/abc"])
    new = [[slide, words.patients.get(patient, patient), split] for slide, patient, split in ROWS]
    assert set(note["params"]) == {repr(identity("rows", new)), repr("--label class-01"), "'--seed 1'"}


@pytest.mark.parametrize("text", ["closest to Meier-1957", '{"path": "1957/Meier_Hans.svs"}', "<td>Huber.tif</td>"])
def test_what_was_overlooked_stops_the_crate(contents, tmp_path, text):
    words = make_anonymous(contents, tmp_path, "r", "slides.tsv")
    check_names_nobody_of(words, "results/r/report.html", "nobody, patient-001, away/a.svs")
    with pytest.raises(BadInput, match=r"results/r/report.html: holds '"):
        check_names_nobody_of(words, "results/r/report.html", text)
