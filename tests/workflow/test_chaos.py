"""Ten trials of tests/chaos.py on the finished run: damage of ten kinds, two starts, and the same bytes as before."""

import sys

import pytest

pytestmark = [pytest.mark.workflow]


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
