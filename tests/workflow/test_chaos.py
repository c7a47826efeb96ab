"""Ten trials of tests/chaos.py on the finished run: damage of ten kinds, two starts, and the same bytes as before."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histogenesis.core.whole import copy_path, mark_path

pytestmark = pytest.mark.workflow


@pytest.fixture
def chaos(root, finished, monkeypatch):
    """The driver, for the run that other tests use too."""
    monkeypatch.syspath_prepend(str(root / "tests"))
    import chaos

    monkeypatch.setattr(chaos, "RECIPE", root / "config/test/harb.yaml")
    monkeypatch.setattr(chaos, "RUN", "results/test-harb")
    yield chaos
    sys.modules.pop("chaos")


@pytest.mark.parametrize("first", [0, 5])
def test_what_was_damaged_is_named_and_comes_out_as_it_was(first, chaos, finished, tmp_path):
    trials = chaos.trials_of(range(first, first + 5), 2, ["next start" if first else "heal"])
    chaos.run_trials(trials, 2, tmp_path, finished.folder, chaos.digests(finished.folder / chaos.RUN))
    assert all(trial.outcome in chaos.RIGHT for trial in trials), trials
    assert any(trial.outcome == "healed" for trial in trials)


def everything_in(folder):
    """path -> (size, time of change) of all its files, also those in state/."""
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def begin(run):
    """Snakemake at work on a run."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(run.root / "Snakefile"),
        "--directory",
        str(run.folder),
    ]
    command += ["--cores", "1", "--configfile", str(run.root / "config/test/harb.yaml")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for(head, path):
    deadline = time.monotonic() + 600
    while not path.exists():
        assert head.poll() is None and time.monotonic() < deadline, head.communicate()[0]
        time.sleep(0.02)


def test_what_is_damaged_while_a_run_goes_on_stops_the_step_that_reads_it_and_is_mended_by_the_next(copied):
    results = copied.folder / "results/test-harb"
    picture, log = (
        results / "evaluation/synthetic_001/contact.png",
        results / "logs/measure_coherence/synthetic_001.log",
    )
    before = picture.read_bytes()
    for path in (results / "report.html", results / "evaluation/synthetic_001/coherence.json", log):
        path.unlink()
    head = begin(copied)
    wait_for(head, log)  # a step that the report waits for, and that does not read the picture
    picture.write_bytes(before[:100] + bytes([before[100] ^ 1]) + before[101:])
    said = head.communicate()[0]
    lines = [line for line in said.splitlines() if "contact.png: damaged: other bytes than were written" in line]
    assert head.returncode == 1 and lines and "by draw_contact_sheet synthetic_001" in lines[0], said
    assert "Traceback" not in said and not picture.exists()
    assert (
        (results / "logs/write_report.log").read_text().startswith("error: results/test-harb/evaluation/synthetic_001")
    )
    again = copied.run("config/test/harb.yaml")
    assert picture.read_bytes() == before and (results / "report.html").exists()
    assert copied.planned("config/test/harb.yaml") == {}, again.stdout


def test_what_goes_while_a_run_goes_on_is_missed_at_its_end_and_made_by_the_next(copied):
    results = copied.folder / "results/test-harb"
    overlay = results / "tissue/phantom_a/overlay.png"  # which no step reads
    mark = mark_path(results, overlay)
    for path in (results / "report.html", overlay, mark, copy_path(results, overlay)):
        path.unlink()
    head = begin(copied)
    wait_for(head, mark)  # the job has ended
    overlay.unlink()  # Snakemake may see it before our own look at the end does
    said = head.communicate()[0]
    assert head.returncode == 1 and re.search(rf"{overlay.name} \(missing|{overlay.name}: missing", said), (
        said
    )  # Snakemake, or we
    copied.run("config/test/harb.yaml")
    assert overlay.exists() and copied.planned("config/test/harb.yaml") == {}


@pytest.mark.parametrize("look", ["--dry-run", "--summary"])
def test_a_look_at_a_damaged_run_says_it_and_changes_nothing(copied, look):
    results = copied.folder / "results/test-harb"
    (results / "tissue/phantom_a/mask.png").write_bytes(b"")
    before = everything_in(results)
    said = copied.run("config/test/harb.yaml", look)
    assert "tissue/phantom_a/mask.png: damaged: empty (0 bytes" in said.stdout + said.stderr
    assert everything_in(results) == before
    planned = copied.planned("config/test/harb.yaml")
    assert planned["segment_tissue"] == 1 and planned["cut_patches"] == 1 and planned["write_report"] == 1, planned
    done = copied.run("config/test/harb.yaml")
    assert copied.count(done.stdout + done.stderr)["segment_tissue"] == 1, "what was planned is run"


def test_a_phantom_that_was_deleted_to_make_room_is_made_again_for_a_step_that_reads_it(copied):
    """Not having it, the step would take the slide for one that cannot be used, and all that follows would lack it."""
    results = copied.folder / "results/test-harb"
    phantom, mask = results / "phantoms/phantom_a.tif", results / "tissue/phantom_a/mask.png"
    before = mask.read_bytes(), phantom.read_bytes()
    phantom.unlink()
    assert copied.planned("config/test/harb.yaml") == {}
    mask.write_bytes(b"")
    copied.run("config/test/harb.yaml", "--", str(mask.relative_to(copied.folder)))
    assert (mask.read_bytes(), phantom.read_bytes()) == before


@pytest.mark.parametrize("name", ["phantom_a.tif", "phantom_a.mask.png"])
def test_a_phantom_whose_mark_rotted_is_made_again_at_once_and_nothing_that_was_made_of_it(name, copied):
    """No step reads a phantom's mask, so that nothing would ask for it."""
    results = copied.folder / "results/test-harb"
    phantom = results / "phantoms" / name
    before, written = phantom.read_bytes(), (results / "report.html").stat().st_mtime_ns
    mark = mark_path(results, phantom)
    for one in (mark, copy_path(results, phantom)):
        one.write_text(one.read_text().replace("1", "2"))
    assert copied.planned("config/test/harb.yaml")["make_phantom"] == 1
    done = copied.run("config/test/harb.yaml")
    said = done.stdout + done.stderr
    assert phantom.read_bytes() == before and mark.exists() and f"{mark.name} is damaged" in said
    assert copied.count(said)["make_phantom"] == 1 and copied.planned("config/test/harb.yaml") == {}
    assert (results / "report.html").stat().st_mtime_ns == written, "nothing was made of it again"


def test_a_damaged_recipe_file_is_healed_too(root, copied):
    """It is what `check --heal` starts from."""
    results = copied.folder / "results/test-harb"
    before = (results / "recipe.yaml").read_bytes()
    (results / "recipe.yaml").write_bytes(before[:50])
    words = [sys.executable, "-m", "histogenesis", "check", str(results), "--deep", "--heal", "--", "--cores", "1"]
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=copied.folder, check=False)
    assert done.returncode == 0 and "1 of 1 are what they were, byte for byte" in done.stdout, done.stdout + done.stderr
    assert (results / "recipe.yaml").read_bytes() == before
    assert copied.planned("config/test/harb.yaml") == {}
