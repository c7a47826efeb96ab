"""A step's state is the same while all is that decides on it, and another when any of it is."""

import os
from pathlib import Path

import pytest

from histogenesis.provenance.settled import State, read_settled, state_of, write_settled

PARAMS = ["'code:1'", "'slide@2'"]
BEFORE = State("above", oldest=1, newest=5_000_000_000)


def put(path, text, second):
    path.write_text(text)
    os.utime(path, ns=(0, second * 10**9))
    return str(path)


@pytest.fixture
def step(tmp_path):
    """What state_of is given, by name."""
    outputs = [put(tmp_path / name, name, 10 + i) for i, name in enumerate(["mask.png", "qc.json"])]
    notes = [put(tmp_path / f"note{i}", "{}", 20) for i in range(2)]
    benchmark = put(tmp_path / "seconds.tsv", "1", 9)
    return {"params": PARAMS, "outputs": outputs, "notes": notes, "benchmark": benchmark, "before": BEFORE}


def test_order_of_params_and_a_second_look_change_nothing(step):
    assert state_of(**step) == state_of(**step | {"params": PARAMS[::-1]})


CHANGES = {
    "an output's time": lambda step: os.utime(step["outputs"][1], ns=(0, 11 * 10**9 + 1)),
    "an output's size": lambda step: put(Path(step["outputs"][0]), "longer than it was", 10),
    "a note's time": lambda step: os.utime(step["notes"][0]),
    "a note's size": lambda step: put(Path(step["notes"][1]), "{ }", 20),
    "the benchmark's time": lambda step: os.utime(step["benchmark"]),
    "the benchmark gone": lambda step: os.unlink(step["benchmark"]),
    "a param": lambda step: step.update(params=["'code:2'", "'slide@2'"]),
    "a param less": lambda step: step.update(params=PARAMS[:1]),
    "the step before it": lambda step: step.update(before=State("other", oldest=1, newest=5_000_000_000)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_what_decides_is_another_state(change, step):
    before = state_of(**step)
    CHANGES[change](step)
    assert state_of(**step).digest != before.digest


@pytest.mark.parametrize("files", ["outputs", "notes"])
def test_with_a_file_or_a_note_missing_there_is_none(files, step):
    os.unlink(step[files][1])
    assert state_of(**step) is None


def test_times_are_those_that_snakemake_compares(step):
    """The oldest of outputs and benchmark, with what is read; the newest of outputs, here and before, with what comes after."""
    state = state_of(**step)
    assert (state.oldest, state.newest) == (9 * 10**9, 11 * 10**9)
    assert state_of(**step | {"benchmark": None}).oldest == 10 * 10**9
    late = State("above", oldest=1, newest=30 * 10**9)
    assert state_of(**step | {"before": late}).newest == 30 * 10**9


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"about": "this"}', '{"about": "this", "settled": [1]}'])
def test_what_is_damaged_says_nothing(text, tmp_path):
    (tmp_path / "settled.json").write_text(text)
    assert read_settled(tmp_path / "settled.json", "this") == {}


def test_what_was_written_is_read_for_the_same_workflow_alone(tmp_path):
    path = tmp_path / "state/settled.json"
    assert read_settled(path, "this") == {}
    write_settled(path, "this", {"register_slide a": "1f"})
    assert read_settled(path, "this") == {"register_slide a": "1f"}
    assert read_settled(path, "other") == {}


def test_where_nothing_can_be_written_or_read_nothing_is_said(tmp_path):
    (tmp_path / "state").write_text("a file in the way")
    write_settled(tmp_path / "state/settled.json", "this", {"register_slide a": "1f"})
    assert read_settled(tmp_path / "state/settled.json", "this") == {}
