"""The commands as their user runs them: examples that --help shows are commands, and a folder of slides becomes a run."""

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from histogenesis import cli
from histogenesis.commands import draw, init, run, scan
from histogenesis.core.errors import BadInput
from histogenesis.phantom.slide import make_phantom
from histogenesis.recipe import Model, Phantom, load_recipe, parse_recipe


def commands() -> dict[str, argparse.ArgumentParser]:
    (found,) = (a for a in cli.make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return found.choices


@pytest.mark.parametrize("name", commands())
def test_each_command_says_what_it_does_with_examples_that_can_be_typed(name):
    text = commands()[name].format_help()
    examples = [line.split("#")[0].split(">")[0].strip() for line in text.partition("examples:")[2].splitlines()]
    examples = [line for line in examples if line]
    assert examples, f"`histogenesis {name} --help` shows no example"
    for line in examples:
        program, *words = shlex.split(line)
        if program == "snakemake":  # what comes next
            continue
        assert program == "histogenesis"
        assert words[0] == name and callable(cli.parse(words).run)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slide")
    make_phantom(Phantom(name="a", width_mm=2, height_mm=1.5, mpp=4), folder / "a.tif", folder / "mask.png")
    return folder / "a.tif"


@pytest.fixture
def folder(tmp_path, monkeypatch, slide):
    """Slides of two patients, in a folder each; two have the same name, one is no slide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HISTOGENESIS_SLIDE_ROOT", raising=False)
    for name in ("TCGA-A1-0001/one.tif", "TCGA-A1-0002/one.tif", "TCGA-A1-0002/two slides.tif"):
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(slide, tmp_path / "archive" / name)
    (tmp_path / "archive/notes.txt").write_text("no slide")
    return tmp_path / "archive"


def typed(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["histogenesis", *map(str, words)])
    cli.main()


def test_a_folder_of_slides_becomes_a_table_and_a_recipe_that_check_accepts(folder, tmp_path, monkeypatch, capsys):
    typed(
        monkeypatch,
        "init",
        folder,
        "--method",
        "overview",
        "--finest",
        "16",
        "--patient",
        "folder",
        "--yes",
        "--run",
        "mine",
    )
    table = [line.split("\t") for line in (tmp_path / "slides.tsv").read_text().splitlines()]
    assert table == [
        ["slide", "path", "patient", "mpp"],
        ["slide-001", "TCGA-A1-0001/one.tif", "TCGA-A1-0001", ""],
        ["slide-002", "TCGA-A1-0002/one.tif", "TCGA-A1-0002", ""],
        ["slide-003", "TCGA-A1-0002/two slides.tif", "TCGA-A1-0002", ""],
    ]
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.run == "mine" and [level.mpp for level in recipe.synthetic.levels] == [128, 64, 32, 16]
    assert recipe.patches["main"].mpps == [128, 64, 32, 16]
    typed(monkeypatch, "check", "recipe.yaml")
    assert "recipe.yaml: valid. 1 synthetic slide(s) of 1024 x 768 px" in capsys.readouterr().out
    own = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert set(own) == {"extends", "run", "slides", "patches", "synthetic"}, "only what differs"


def test_the_models_that_ship_are_tuned_to_the_slides_where_nothing_is_said(folder, tmp_path, monkeypatch, capsys):
    typed(monkeypatch, "init", folder, "--yes")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert {model.training.start for name, model in recipe.models.items() if not name.startswith("weak")} == {
        "gut-he-layout-v3",
        "gut-he-glands-v2",
        "gut-he-cells-v2",
    }
    assert recipe.split.by == "patient"
    capsys.readouterr()
    with pytest.raises(SystemExit, match="of several sets at mpps of their own"):
        typed(monkeypatch, "init", folder, "--method", "tuned", "--finest", "4", "--yes", "--force")


def test_names_of_files_are_taken_where_that_is_asked_for(folder, tmp_path, monkeypatch):
    typed(monkeypatch, "init", folder, "--names", "file", "--yes")
    rows = [line.split("\t") for line in (tmp_path / "slides.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["TCGA-A1-0001-one", "TCGA-A1-0002-one", "two-slides"]
    assert [row[2] for row in rows] == [row[0] for row in rows], "each slide is a patient of its own"


def test_what_is_there_is_not_written_over(folder, tmp_path, monkeypatch):
    (tmp_path / "slides.tsv").write_text("mine")
    with pytest.raises(SystemExit, match="is there already"):
        typed(monkeypatch, "init", folder, "--yes")
    assert (tmp_path / "slides.tsv").read_text() == "mine"


@pytest.mark.parametrize("finest, near", [(3, "4 or 2"), (12, "16 or 8")])
def test_a_ladder_that_does_not_double_is_refused(folder, monkeypatch, finest, near):
    with pytest.raises(SystemExit, match=f"give {near}"):
        typed(monkeypatch, "init", folder, "--finest", finest, "--yes")


def test_a_ladder_goes_on_below_the_recipes_own(folder, tmp_path, monkeypatch):
    typed(monkeypatch, "init", folder, "--method", "harb", "--finest", "0.25", "--yes")
    levels = load_recipe(tmp_path / "recipe.yaml").synthetic.levels
    assert levels[-1].mpp == 0.25 and all(a.mpp == 2 * b.mpp for a, b in zip(levels, levels[1:]))  # noqa: RUF007


def test_questions_are_asked_until_the_answer_is_one(monkeypatch):
    answers = iter(["none", "", "harb"])
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert init.proposed("Which?", ("overview", "harb"), "overview", ask=True) == "overview"
    assert init.proposed("Which?", ("overview", "harb"), "overview", ask=True) == "harb"


def test_a_scan_names_what_cannot_be_used(folder, capsys, monkeypatch):
    (folder / "cut.tif").write_bytes((folder / "TCGA-A1-0001/one.tif").read_bytes()[:5000])
    typed(monkeypatch, "scan", folder, "--out", "scan.tsv")
    printed = capsys.readouterr().out
    assert "4 slide(s)" in printed and "4 to 4 mpp; 1 cannot be used" in printed
    rows = [line.split("\t") for line in Path("scan.tsv").read_text().splitlines()]
    cells = dict(zip(rows[0], rows[1]))
    assert (cells["width_px"], cells["height_px"], cells["mpp"], cells["field_mm"]) == (
        "500",
        "375",
        "4.0",
        "2.0 x 1.5",
    )


def test_data_of_a_mirax_slide_is_no_slide(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a.mrxs", "a/Data0001.tif", "b.svs"):
        (tmp_path / name).touch()
    assert [path.name for path in scan.found_in(tmp_path)] == ["a.mrxs", "b.svs"]


@pytest.fixture
def model(root, tmp_path):
    """The card of a model that has learnt 16 to 4 mpp, as training writes it."""
    values = yaml.safe_load((root / "config/test/harb.yaml").read_text())
    section = Model.model_validate(values["models"]["shared"])
    folder = tmp_path / "model"
    folder.mkdir()
    facts = {"section": section.model_dump(mode="json"), "mpps": [16.0, 8.0, 4.0], "classes": [], "patch_px": 16}
    (folder / "model.json").write_text(json.dumps(facts))
    (folder / "model.safetensors").touch()
    return folder


def drawn(*words):
    return draw.drawing_recipe(cli.make_parser().parse_args(["draw", *map(str, words)]))


def test_a_model_alone_is_enough_to_draw(model):
    recipe = parse_recipe(drawn(model, "--slides", 2, "--seed", 5))
    assert [level.mpp for level in recipe.synthetic.levels] == [16, 8, 4]
    assert recipe.synthetic.size_px(2) == (128, 192) and not recipe.patches and recipe.seed == 5


def test_what_follows_two_dashes_is_snakemakes(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.touch()
    args = cli.parse(["run", str(recipe), "slides", "--", "--dry-run", "--profile", "slurm"])
    words = run.command(args.recipe, args.target, args.cores, args.more)
    assert words[-5:] == ["--dry-run", "--profile", "slurm", "--", "slides"] and "--cores" not in words
    args = cli.parse(["run", str(recipe), "--accept-missing", "--", "-n"])
    assert run.more_of(args) == ["--config", "accept_missing=true", "-n"]
    args = cli.parse(["run", str(recipe), "--", "-n"])
    assert run.command(args.recipe, args.target, args.cores, args.more)[-5:] == ["--cores", "all", "-n", "--", "all"]


def test_a_model_that_needs_more_than_noise_is_refused(model):
    card = json.loads((model / "model.json").read_text())
    card["section"] |= {"conditions": ["mpp", "lowres"], "lowres_factor": 2}
    (model / "model.json").write_text(json.dumps(card))
    with pytest.raises(BadInput, match=r"does not draw slides alone \(lowres\)"):
        drawn(model)


def test_mpps_that_do_not_double_are_refused(model):
    with pytest.raises(BadInput, match="levels double, and 16 -> 4 mpp does not"):
        drawn(model, "--mpps", 16, 4)
