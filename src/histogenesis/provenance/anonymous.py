"""What a crate says of patients and of files outside of the run: nothing. Other words stand for them, the same throughout.

Patients become `patient-001`, classes of slides `class-01`, files that users brought `away/{slide}.svs`; names in the column
`slide` are the run's own words, and stay. Snakemake's notes say then what they would have said of those words, so that it still
finds nothing to do. What is overlooked here is found by `check_names_nobody_of`, and then there is no crate.
"""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import NamedTuple

import yaml

from histogenesis.core.errors import BadInput
from histogenesis.provenance.contents import Contents
from histogenesis.recipe.identity import identity

AWAY = "away"
FILES = ("path", "tissue", "regions")  # columns of the slide table that name files
TEXT = {".json", ".jsonl", ".yaml", ".tsv", ".csv", ".geojson", ".html", ".txt", ".md", ".svg", ""}
SHORTEST = 4  # letters of a patient or a file name that are searched for anywhere: shorter ones stand in any text


class Words(NamedTuple):
    """What stands for what, by kind: the table's own word -> the crate's."""

    patients: dict[str, str]
    labels: dict[str, str]
    files: dict[str, str]


def read_rows(table: Path | None) -> list[dict[str, str]]:
    """The cells of a slide table; none without a table."""
    if table is None or not table.is_file():
        return []
    lines = (line for line in table.read_text().splitlines() if line.strip() and not line.startswith("#"))
    return [
        {k.strip(): (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(lines, delimiter="\t")
    ]


def words_for(rows: list[dict[str, str]]) -> Words:
    """Words that say nothing, in the order of the old ones; a slide without patient is one of its own, by its own name."""
    patients = sorted({row["patient"] for row in rows if row.get("patient") and row["patient"] != row["slide"]})
    labels = sorted({row["label"] for row in rows if row.get("label")})
    files = {}
    for row in rows:
        for column in FILES:
            if name := row.get(column):
                kind = "" if column == "path" else f".{column}"
                files[name] = f"{AWAY}/{row['slide']}{kind}{Path(name).suffix}"
    return Words(
        {name: f"patient-{k:03d}" for k, name in enumerate(patients, start=1)},
        {name: f"class-{k:02d}" for k, name in enumerate(labels, start=1)},
        files,
    )


def make_anonymous(contents: Contents, project: Path, run: str, table: str | None) -> Words:
    """Put other words for patients, classes and files into what goes into a crate; returns them."""
    rows = read_rows(project / table if table else None)
    words = words_for(rows)
    results = f"results/{run}"
    phantoms = yaml.safe_load((project / results / "recipe.yaml").read_text())["slides"]["phantoms"]
    exchange = exchanged(rows, phantoms, words)
    for name in list(contents.files):
        if table and name == Path(table).as_posix():
            change(contents, name, lambda text: table_text(text, words))
        elif name == f"{results}/splits.tsv":
            change(contents, name, lambda text: column_text(text, "patient", words.patients))
        elif re.fullmatch(rf"{re.escape(results)}/slides/[^/]+\.json", name):
            change(contents, name, lambda text: record_text(text, words))
        elif name == f"{results}/recipe.yaml":
            change(contents, name, recipe_text)
        elif name.startswith(".snakemake/"):
            change(contents, name, lambda text: note_text(text, exchange, words))
    return words


def change(contents: Contents, name: str, how) -> None:
    content = contents.files[name]
    old = content.decode() if isinstance(content, bytes) else content.read_text()
    if (new := how(old)) != old:
        contents.files[name] = new.encode()


def table_text(text: str, words: Words) -> str:
    for column, by in {"patient": words.patients, "label": words.labels, **dict.fromkeys(FILES, words.files)}.items():
        text = column_text(text, column, by)
    return text


def column_text(text: str, column: str, words: dict[str, str]) -> str:
    """A tab-separated table with other words in one column; remarks are left out, since they may say anything."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = list(csv.reader(lines, delimiter="\t"))
    names = [name.strip() for name in rows[0]]
    if column not in names:
        return text
    k = names.index(column)
    for row in rows[1:]:
        row[k] = words.get(row[k].strip(), row[k])
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n").writerows([names, *rows[1:]])
    return out.getvalue()


def record_text(text: str, words: Words) -> str:
    """A slide's record: its path, what its error and warnings say of that file, and no picture, however small, of the slide."""
    record = json.loads(text)
    old = record["path"]
    new = words.files.get(old, old)

    def said(sentence: str) -> str:
        return sentence.replace(old, new).replace(Path(old).name, Path(new).name)

    record |= {"warnings": list(map(said, record.get("warnings") or [])), "fingerprint": None}
    if record.get("error"):
        record["error"] = said(record["error"])
    return json.dumps(record | {"path": new}, indent=1) + "\n"


def recipe_text(text: str) -> str:
    """The recipe as it was run, with files that lie outside of the run as `away/...`."""
    recipe = yaml.safe_load(text)
    recipe["slides"]["root"] = "."
    for name, patches in recipe["patches"].items():
        if patches.get("path"):
            patches["path"] = away(patches["path"], name)
    for encoder in recipe["evaluation"]["encoders"]:
        if isinstance(encoder, dict):
            encoder["file"] = away(encoder["file"], encoder["name"])
    for name, model in recipe["models"].items():
        places = [(model, "path"), (model.get("training") or {}, "start")]
        places += [((model.get("network") or {}).get("weights") or {}, "path")]
        places += [((model.get("objective") or {}).get("perceptual") or {}, "file")]
        places += [(model.get("label_embeddings") or {}, "file")]
        for section, key in places:
            if section.get(key):
                section[key] = away(section[key], name)
    return yaml.safe_dump(recipe, sort_keys=False)


def away(path: str, name: str) -> str:
    """A path of another run (results/...) or a bare name (of a model that ships) as it is; else by what the recipe calls it."""
    kept = "/" not in path or (path.startswith("results/") and ".." not in Path(path).parts)
    return path if kept else f"{AWAY}/{name}{Path(path).suffix}"


def exchanged(rows: list[dict[str, str]], phantoms: list[dict], words: Words) -> dict[str, str]:
    """What steps were told of the slide table -> what they would be told of the crate's."""

    def told(patients: dict[str, str]) -> str:
        listed = [[row["slide"], row.get("patient") or row["slide"], row.get("split") or None] for row in rows]
        listed = [[slide, patients.get(patient, patient), split] for slide, patient, split in listed]
        listed += [[one["name"], one["patient"] or one["name"], None] for one in phantoms]
        return identity("rows", sorted(listed, key=lambda one: one[0]))

    return {told({}): told(words.patients)} | {f"--label {old}": f"--label {new}" for old, new in words.labels.items()}


def note_text(text: str, exchange: dict[str, str], words: Words) -> str:
    """Snakemake's note of an output, its params as the crate's own slide table gives them."""
    note = json.loads(text)
    bare = [param.strip("'\"") for param in note.get("params") or []]
    note["params"] = sorted(repr(exchange.get(param, param)) for param in bare)
    for old, new in (exchange | words.files).items():
        note["shellcmd"] = note["shellcmd"] and note["shellcmd"].replace(old, new)
        note["input"] = [name.replace(old, new) for name in note["input"]]
    return json.dumps(note, sort_keys=True)


def check_names_nobody_of(words: Words, name: str, text: str) -> None:
    """Raise BadInput where a text still has a file's path or name, or a patient."""
    if Path(name).suffix not in TEXT or name.startswith("code/"):
        return
    secret = {Path(path).name for path in words.files} | {path for path in words.files if "/" in path}
    secret -= {Path(path).name for path in words.files.values()}  # a file called like its slide, whose name stays
    secret |= set(words.patients)
    for word in sorted(secret, key=len, reverse=True):
        if len(word) >= SHORTEST and re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", text):
            raise BadInput(
                f"{name}: holds {word!r}, which the slide table says of a patient or a file. Share it with --with-names, if"
                " that may be known, or take it out of there"
            )
