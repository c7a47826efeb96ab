"""What runs share: made once, also by two at a time, and never changed by a run that replaces its own."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from histogenesis.steps.once import once


class Run:
    """A step of one run: writes {run}/a.h5 and a small file beside it."""

    def __init__(self, folder: Path, code: int = 0):
        self.folder, self.made, self.code = folder, 0, code
        (folder / "coords/8mpp").mkdir(parents=True)
        (folder / "coords/8mpp/other.h5").write_text("of another slide")
        (folder / "record.json").write_text("{}")

    def make(self) -> int:
        self.made += 1
        (self.folder / "a.h5").write_text("patches")
        (self.folder / "coords/8mpp/a.h5").write_text("coords")
        return self.code

    def step(self, store, told=("--seed 1", "code:1", "")):
        out = self.folder / "a.h5"
        beside = self.folder / "coords", ["*/a.h5"]
        return once(store, list(told), [self.folder / "record.json"], [out], self.make, beside)


@pytest.fixture
def run(tmp_path):
    return lambda name, code=0: Run(tmp_path / "results" / name, code)


def test_the_second_run_takes_what_the_first_made(run, tmp_path):
    first, second, store = run("first"), run("second"), tmp_path / "shared"
    assert first.step(store) == second.step(store) == 0
    assert (first.made, second.made) == (1, 0)
    for one in (first, second):
        assert (one.folder / "a.h5").is_symlink() and (one.folder / "a.h5").read_text() == "patches"
        assert (one.folder / "coords/8mpp/a.h5").read_text() == "coords"
        assert not (one.folder / "coords/8mpp/a.h5").is_symlink()
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert (moved / "results/second/a.h5").read_text() == "patches", "links are relative"


@pytest.mark.parametrize("told, record", [(("--seed 2", "code:1", ""), "{}"), (("--seed 1", "code:1", ""), "{ }")])
def test_what_is_told_otherwise_or_reads_other_bytes_is_made_anew(run, tmp_path, told, record):
    first, second = run("first"), run("second")
    first.step(tmp_path / "shared")
    (second.folder / "record.json").write_text(record)
    second.step(tmp_path / "shared", told)
    assert second.made == 1


def test_a_run_that_replaces_or_deletes_its_own_leaves_the_others(run, tmp_path):
    first, second, store = run("first"), run("second"), tmp_path / "shared"
    first.step(store)
    second.step(store)
    (first.folder / "part").write_text("other")
    os.replace(first.folder / "part", first.folder / "a.h5")
    (first.folder / "coords/8mpp/a.h5").write_text("other")
    assert (second.folder / "a.h5").read_text() == "patches"
    assert (second.folder / "coords/8mpp/a.h5").read_text() == "coords"
    first.step(store)
    assert (first.folder / "coords/8mpp/a.h5").read_text() == "coords"
    (second.folder / "a.h5").unlink()
    assert first.step(store) == 0 and (first.folder / "a.h5").read_text() == "patches" and first.made == 1


def test_what_failed_is_not_kept(run, tmp_path):
    failed = run("failed", code=3)
    assert failed.step(tmp_path / "shared") == 3 and not (tmp_path / "shared").exists()
    assert not (failed.folder / "a.h5").is_symlink()


def test_two_at_once_have_the_same_whole_result(run, tmp_path):
    runs = [run(f"run{n}") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: one.step(tmp_path / "shared"), runs)) == [0] * 8
    assert {(one.folder / "a.h5").resolve() for one in runs} == {next((tmp_path / "shared").glob("*/a.h5"))}
    assert not list((tmp_path / "shared").glob(".new.*"))


def test_the_command(tmp_path):
    words = ["shared", "--", "--stop-on-bad", "", "--", "--", "out.txt", "--", "--"]
    words += [sys.executable, "-c", "import sys; open('out.txt', 'w').write(' '.join(sys.argv[1:]))", "--", "x"]
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "histogenesis.steps.once", *words], cwd=tmp_path, check=True)
    assert (tmp_path / "out.txt").is_symlink() and (tmp_path / "out.txt").read_text() == "-- x"
    (tmp_path / "out.txt").unlink()
    subprocess.run([sys.executable, "-m", "histogenesis.steps.once", "", *words[1:]], cwd=tmp_path, check=True)
    assert not (tmp_path / "out.txt").is_symlink() and (tmp_path / "out.txt").read_text() == "-- x"
