"""A finished run whose rerun fails, is stopped, or lacks a slide: the next plan says so; nothing stale passes as done."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from .lab import Lab
from .test_reruns import both, module, recipe
from .test_same import ran

pytestmark = [pytest.mark.workflow, pytest.mark.long]

BROKEN = "raise RuntimeError('this version is broken')"
# A module -> the step that then fails, an output of it that is gone, and what must follow when it is made again.
KINDS = {
    "scripts/register_slide.py": ("register_slide", "slides/*.json", {"segment_tissue", "train_model"}),
    "scripts/make_phantom.py": ("make_phantom", "phantoms/c.tif", {"register_slide", "cut_patches"}),
    "scripts/split_patients.py": ("split_patients", "splits.tsv", {"train_model", "evaluate_patches"}),
    "scripts/cut_patches.py": ("cut_patches", "patches/*/*.h5", {"check_data", "train_model"}),
    "scripts/check_data.py": ("check_data", "data.json", set()),
    "scripts/plan_tissue.py": ("plan_tissue", "synthetic/synthetic_001/plan.png", {"draw_level", "stitch_slide"}),
    "scripts/extract_features.py": ("extract_features", "evaluation/features/*/*", {"evaluate_patches"}),
    "scripts/measure_coherence.py": ("measure_coherence", "evaluation/synthetic_001/coherence.json", set()),
    "scripts/draw_contact_sheet.py": ("draw_contact_sheet", "evaluation/synthetic_001/contact.png", set()),
    "tissue/fesi.py": ("segment_tissue", "tissue/*/mask.png", {"cut_patches", "train_model", "draw_level"}),
    "models/training.py": ("train_model", "models/coarse/model.safetensors", {"draw_level", "stitch_slide"}),
    "canvas/engine.py": ("draw_level", "synthetic/synthetic_001/level0.h5", {"stitch_slide", "evaluate_patches"}),
    "scripts/stitch_slide.py": ("stitch_slide", "synthetic/synthetic_001.tif", set()),
    "metrics/distances/kernel.py": ("evaluate_patches", "evaluation/metrics.json", set()),
    "scripts/write_report.py": ("write_report", "report.html", set()),
}


def run(lab: Lab, *arguments: str) -> subprocess.CompletedProcess:
    return lab.run.run(lab.project / "recipe.yaml", *arguments, check=False, **lab.environment)


def fails_and_is_made_again(lab: Lab, name: str, rule: str, output: str, followers: set[str]) -> None:
    """The step fails in a rerun with other code. It is planned until it is made, and with the old code it alone runs again."""
    code = lab.code / ("workflow" if name.startswith("scripts") else "src/histogenesis") / name
    before = code.read_text()
    code.write_text(f"{before}\n{BROKEN}\n")
    files = sorted(lab.results.glob(output))
    assert files and run(lab).returncode == 1
    assert sorted(lab.results.glob(output)) != files, "Snakemake deletes what a failed job was to make"
    assert lab.planned().keys() >= {rule, "write_report"} | followers, "the same command again"
    assert lab.planned("--", "report").keys() >= {rule, "write_report"} | followers, "of that target, too"
    code.write_text(before)
    assert lab.planned().keys() >= {rule, "write_report"} | followers, "with the old code again"
    assert set(ran(lab)) == {rule, "all"}, "what it has made is what it had made"
    assert sorted(lab.results.glob(output)) == files and not (lab.results / "unfinished.json").exists()
    assert lab.planned() == {}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_failed_rerun_has_deleted_is_planned_by_the_next(name, lab):
    fails_and_is_made_again(lab, name, *KINDS[name])


def test_what_is_owed_of_a_model_that_is_no_longer_in_the_recipe_is_forgotten(lab):
    code = lab.code / "src/histogenesis/models/training.py"
    code.write_text(f"{code.read_text()}\n{BROKEN}\n")
    assert run(lab).returncode == 1
    lab.edit_recipe(lambda values: values["models"].update(other=values["models"].pop("fine")))
    lab.edit_recipe(lambda values: [level.update(model="other") for level in values["synthetic"]["levels"][1:]])
    assert lab.planned()["train_model"] == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_started_again_it_goes_on(how, lab):
    """Without a profile: no word of incomplete files, and what was deleted is planned."""
    recipe("models.fine.training.steps", 4000)(lab)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(lab.code / "Snakefile"),
        "--directory",
        str(lab.project),
    ]
    command += ["--cores", "1", "--configfile", str(lab.project / "recipe.yaml")]
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, **lab.environment}
    log = lab.results / "logs/train_model/fine.log"
    with (lab.folder / "out").open("w") as out:
        head = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
        deadline = time.monotonic() + 300
        while not (log.exists() and "going on from step" in log.read_text()):
            assert head.poll() is None and time.monotonic() < deadline, (lab.folder / "out").read_text()
            time.sleep(0.1)
        os.killpg(head.pid, how)
        head.wait()
    assert not (lab.results / "models/fine/model.safetensors").exists()
    recipe("models.fine.training.steps", 6)(lab)
    if how == signal.SIGKILL:
        assert lab.run.snakemake("--unlock", "--configfile", str(lab.project / "recipe.yaml")).returncode == 0
    done = run(lab)
    assert done.returncode == 0 and "Incomplete" not in done.stderr, done.stderr
    assert lab.planned() == {}


# ------------------------------------------------------------------------------------------------ what is away


def away(lab: Lab, name: str = "b.tif") -> None:
    shutil.move(lab.slides / name, lab.folder / "elsewhere")


def test_a_slide_that_is_away_reruns_nothing_and_is_named(lab):
    away(lab)
    done = run(lab)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    assert "away" in done.stderr and "b.tif" in done.stderr


def test_what_does_not_need_it_runs_and_what_does_is_refused_until_accepted(lab):
    before = {
        path: path.read_bytes() for path in lab.results.rglob("*") if path.is_file() and "state" not in path.parts
    }
    away(lab)
    recipe("tissue.min_area_mm2", 0.01)(lab)
    done = run(lab)
    words = " ".join((done.stdout + done.stderr).split())
    assert (
        done.returncode == 1
        and "slide b" in words
        and "accept_missing=true" in words
        and "Nothing was changed" in words
    )
    assert {path: path.read_bytes() for path in before} == before
    found = lab.run.planned(lab.project / "recipe.yaml", "--config", "accept_missing=true", **lab.environment)
    assert found["register_slide"] == 1 and found["train_model"] == 2
    recipe("tissue.min_area_mm2", 0.0)(lab)
    recipe("synthetic.file.quality", 80)(lab)
    assert lab.planned().keys() == {"write_recipe", "stitch_slide", "write_report"}
    assert run(lab).returncode == 0


def test_a_slide_that_comes_back_is_the_same_and_another_in_its_place_is_seen(lab):
    away(lab)
    assert run(lab).returncode == 0
    shutil.move(lab.folder / "elsewhere", lab.slides / "b.tif")
    assert lab.planned() == {}
    shutil.copy(lab.slides / "a.tif", lab.slides / "b.tif")
    assert lab.planned()["register_slide"] == 1


def test_a_slide_of_several_files_of_which_some_are_away_is_away(lab):
    """Counted: the index of a MIRAX slide alone is not another slide, also where its folder is not mounted."""
    (lab.slides / "d").mkdir()
    for name in ("Slidedat.ini", "Data0000.dat"):
        (lab.slides / "d" / name).write_text(name)
    (lab.slides / "d.mrxs").write_text("no slide that can be read: its record says so")
    lab.edit("project/slides.tsv", lambda text: text + "d\td.mrxs\tdurand\t\t\n")
    record = "results/lab/slides/d.json"
    lab.run.snakemake(record, "--configfile", str(lab.project / "recipe.yaml"), "--cores", "1", **lab.environment)
    assert lab.planned("--", record) == {}
    shutil.move(lab.slides / "d", lab.folder / "elsewhere")
    assert lab.planned("--", record) == {}
    done = run(lab, "--", record)
    assert "slide d" in done.stderr and "1 files, 3 before" in done.stderr, done.stderr
    (lab.slides / "d.mrxs").write_text("another")
    assert lab.planned("--", record) == {}, "nobody knows what the whole of it is"
    shutil.move(lab.folder / "elsewhere", lab.slides / "d")
    assert lab.planned("--", record)["register_slide"] == 1, "all is there, and it is another"


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_what_no_longer_knows_its_slides_makes_nothing_of_less(how, lab):
    (lab.results / "contents.json").unlink()
    if how == "damaged":
        (lab.results / "contents.json").write_text("{")
    assert lab.planned() == {}, "all slides are there"
    away(lab)
    done = run(lab)
    words = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "gone or damaged" in words and "slide b" in words and "accept_missing" in words


# ------------------------------------------------------------------------------------------------ who writes a run


def test_another_recipe_of_the_same_name_is_refused_and_an_edited_or_moved_one_is_not(lab):
    text = (lab.project / "recipe.yaml").read_text().replace("seed: 5", "seed: 6")
    (lab.project / "other.yaml").write_text(text)
    done = lab.run.run(lab.project / "other.yaml", "--until", "write_recipe", check=False, **lab.environment)
    words = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1 and "recipe.yaml" in words and "another `run:`" in words
    (lab.project / "recipe.yaml").unlink()
    done = lab.run.run(lab.project / "other.yaml", "--until", "write_recipe", check=False, **lab.environment)
    assert done.returncode == 0, done.stderr


def test_a_run_has_one_writer(lab):
    import fcntl

    recipe("synthetic.file.quality", 80)(lab)
    with (lab.results / "state/at_work.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(lab)
    assert done.returncode == 1 and "at work on this run" in done.stderr


# ------------------------------------------------------------------------------------------------ what bears on no byte


def test_a_reporting_key_reruns_nothing_and_holds_from_the_next_training_on(lab):
    both(recipe("models.fine.training.log_every", 1), recipe("models.fine.training.checkpoint_every", 1))(lab)
    assert lab.planned() == {}
    module("models/training.py")(lab)
    recipe("models.coarse.training.log_every", 6)(lab)
    assert run(lab, "--until", "train_model").returncode == 0
    logs = {name: (lab.results / f"models/{name}/train.jsonl").read_text() for name in ("coarse", "fine")}
    assert logs["fine"].count('"loss"') > 3 > logs["coarse"].count('"loss"'), logs


def test_a_slide_under_another_path_reruns_nothing_and_is_found_there(lab):
    shutil.move(lab.slides / "b.tif", lab.slides / "drawn/renamed.tif")
    lab.edit("project/slides.tsv", lambda text: text.replace("b.tif", "drawn/renamed.tif"))
    assert lab.planned() == {}
    recipe("patches.fine.per_slide", 19)(lab)
    done = run(lab, "--until", "cut_patches")
    assert done.returncode == 0 and "register_slide" not in done.stderr, done.stderr
